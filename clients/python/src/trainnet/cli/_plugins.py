"""The root command: its own commands, and those that other distributions bring, loaded when they are called."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from trainnet.client import TrainNetError

GROUP = "trainnet.commands"

# Shown without importing the plugin, which may take seconds.
_HELP = {
    "bench": "Measure this machine: rounds, merges, training, preparation.",
    "demo": "Train a real model on four workers of this machine, and watch.",
    "predict": "Run a downloaded model on data.",
    "up": "Run all of TrainNet on this machine.",
    "worker": "Lend this machine: join, status, pause, resume, leave.",
}


class Root(TyperGroup):
    """Lists plugins without loading them; one that cannot be loaded fails alone, and only when it is called."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        own = list(self.commands)
        return [*own, *sorted(name for name in _plugins() if name not in own)]

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]
        own = self.commands.get(cmd_name)
        if own is not None:
            return own
        plugin = _plugins().get(cmd_name)
        if plugin is None:
            return None
        package = plugin.dist.name if plugin.dist else plugin.module
        return TyperCommand(cmd_name, help=_HELP.get(cmd_name, f"Comes with {package}."))

    def resolve_command(self, ctx: typer.Context, args: list[str]) -> Any:  # type: ignore[override]
        name = args[0] if args else ""
        if name not in self.commands and (plugin := _plugins().get(name)) is not None:
            self.commands[name] = _load(plugin)
        return super().resolve_command(ctx, args)


def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def _load(plugin: EntryPoint) -> Any:
    package = plugin.dist.name if plugin.dist else plugin.module
    try:
        found = plugin.load()
    except Exception as error:  # whatever a plugin does wrong is told in one line
        reason = f"{type(error).__name__}: {error}"
        raise TrainNetError(
            f"command {plugin.name!r} cannot be loaded ({reason})", hint=f"install {package} again"
        ) from error
    app = found
    if not isinstance(found, typer.Typer):
        app = typer.Typer(add_completion=False)
        app.command(plugin.name)(found)
    command = typer.main.get_command(app)
    command.name = plugin.name
    return command
