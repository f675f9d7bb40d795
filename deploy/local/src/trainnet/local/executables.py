"""The servers that packages bring as executables beside this environment's Python."""

import shutil
import sysconfig

from trainnet.local.errors import ProgramMissing


def find(name: str, package: str) -> str:
    """The path of an executable: this environment's own before any other on the PATH, even when it is not activated."""
    path = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    if path is None:
        raise ProgramMissing(name, package)
    return path
