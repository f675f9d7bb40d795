"""What can go wrong with a local stack; each message is meant for the person who started it."""

from pathlib import Path


class LocalError(Exception):
    """The local stack cannot do that."""


class DataFolderInUse(LocalError):
    """Another stack runs on the same data folder."""

    def __init__(self, folder: Path, pid: int | None) -> None:
        self.folder = folder
        self.pid = pid
        holder = f"process {pid}" if pid else "another process"
        super().__init__(f"{folder} is in use by {holder}: stop that stack, or choose another folder with --data")


class DataFolderUnusable(LocalError):
    """A file in the data folder cannot be read, or the folder cannot be written."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        super().__init__(f"{path}: {reason}")


class PortInUse(LocalError):
    """A port that was asked for is taken."""

    def __init__(self, option: str, port: int) -> None:
        self.port = port
        super().__init__(f"port {port} ({option}) is in use: stop what listens there, or choose another port")


class ProgramMissing(LocalError):
    """A server that the stack needs is not installed."""

    def __init__(self, program: str, package: str) -> None:
        super().__init__(f"{program} is not installed: pip install {package}")


class ChildFailed(LocalError):
    """A child process did not become ready."""

    def __init__(self, name: str, what: str, log: Path, tail: str) -> None:
        self.name = name
        self.log = log
        end = "\n".join(f"  {line}" for line in tail.splitlines())
        super().__init__(f"{name} {what}; its log is {log}" + (f" and ends with\n{end}" if end else ""))


class NoSuchChild(LocalError):
    """The stack has no child of that name."""

    def __init__(self, name: str, names: list[str]) -> None:
        super().__init__(f"no child is called {name!r}: they are {', '.join(names)}")
