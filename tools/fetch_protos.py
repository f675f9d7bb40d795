"""Puts the protos of others that the contract imports into .proto-deps/, where buf finds them as a second module.

They are neither linted nor copied into the repository:
- buf/validate/validate.proto comes from a source archive of protovalidate (its wheels do not carry it).
- google/rpc/*.proto come from the installed googleapis-common-protos.
"""

import importlib.util
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / ".proto-deps"

# An archive that carries the proto; the installed 2.x reads the same rules.
ARCHIVE = "protovalidate==1.2.0"
ARCHIVED = "upstream/proto/buf/validate/validate.proto"

GOOGLEAPIS = ("google/rpc/code.proto", "google/rpc/error_details.proto", "google/rpc/status.proto")


def fetch_validate(target: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "protovalidate"]
        subprocess.run([*pip, "--dest", folder, ARCHIVE], check=True)
        (archive,) = Path(folder).glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            (member,) = (m for m in tar.getmembers() if m.name.endswith(ARCHIVED))
            source = tar.extractfile(member)
            if source is None:
                raise RuntimeError(f"{ARCHIVED} in {archive.name} is not a file")
            path = target / "buf" / "validate" / "validate.proto"
            path.parent.mkdir(parents=True)
            path.write_bytes(source.read())


def copy_googleapis(target: Path) -> None:
    google = importlib.util.find_spec("google.rpc")
    if google is None or google.submodule_search_locations is None:
        raise RuntimeError("googleapis-common-protos is not installed: run `make setup`")
    roots = [Path(location).parent.parent for location in google.submodule_search_locations]
    for name in GOOGLEAPIS:
        source = next(root / name for root in roots if (root / name).exists())
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path)


def main() -> None:
    # Built aside and renamed, so that an interrupted fetch never looks complete.
    partial = TARGET.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    fetch_validate(partial)
    copy_googleapis(partial)
    shutil.rmtree(TARGET, ignore_errors=True)
    partial.rename(TARGET)


if __name__ == "__main__":
    main()
