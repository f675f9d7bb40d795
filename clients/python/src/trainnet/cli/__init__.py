"""The `trainnet` command.

`trainnet.cli.main` is the entry point, `trainnet.cli.live` the display of a running job, for other commands to use.
Commands of other distributions come in by the entry-point group `trainnet.commands`: a typer.Typer or a function.
"""
