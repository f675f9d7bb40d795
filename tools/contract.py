"""Generates the contract's Python and checks the contract: `python tools/contract.py generate|check [--against REF]`.

The check lints and formats with buf, compares with an earlier contract for breaking changes, and generates everything
again beside the repository to see that what is committed is what the protos say.
"""

import argparse
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import fetch_protos

ROOT = Path(__file__).resolve().parent.parent
GENERATED = Path("clients/python/src/trainnet/v1")
TEMPLATES = ("buf.gen.yaml", "tools/buf.gen.imports.yaml")


def run(*command: str, cwd: Path = ROOT) -> None:
    # buf looks up its plugins, and they their Python, on the PATH: this environment's come first.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    subprocess.run(command, cwd=cwd, env={**os.environ, "PATH": path}, check=True)


def generated_files(root: Path) -> dict[Path, bytes]:
    folder = root / GENERATED
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*_pb2*.py*") if path.suffix != ".pyc"}


def generate(target: Path) -> None:
    for template in TEMPLATES:
        run("buf", "generate", "--template", template, "--output", str(target))


def check_breaking(ref: str) -> None:
    """Refuses what would break clients of the contract at `ref`; there may be none yet."""
    archive = subprocess.run(
        ["git", "archive", "--format=tar", ref, "buf.yaml", "proto"], cwd=ROOT, capture_output=True, check=False
    )
    if archive.returncode:
        print(f"contract: nothing to compare with, {ref} holds no earlier contract")
        return
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
            # Python before 3.11.4 has no filters; the archive is git's own of this repository.
            tar.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)
            tar.extractall(folder)
        if not any(Path(folder).rglob("*.proto")):
            print(f"contract: nothing to compare with, {ref} holds no earlier contract")
            return
        shutil.copytree(fetch_protos.TARGET, Path(folder, fetch_protos.TARGET.name))
        run("buf", "breaking", "--against", folder)


def check_generated() -> None:
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        wanted, found = generated_files(Path(folder)), generated_files(ROOT)
    stale = sorted(
        str(GENERATED / name) for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)
    )
    if stale:
        sys.exit(
            "contract: run `make proto` and commit; these files are not what the protos say:\n  " + "\n  ".join(stale)
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=["generate", "check"])
    parser.add_argument("--against", default="main", help="git reference whose contract must not be broken")
    arguments = parser.parse_args()
    if not fetch_protos.TARGET.exists():
        fetch_protos.main()
    try:
        if arguments.action == "generate":
            for name in generated_files(ROOT):
                (ROOT / GENERATED / name).unlink()
            run("buf", "format", "-w", "proto")
            generate(ROOT)
        else:
            run("buf", "lint")
            run("buf", "format", "proto", "--diff", "--exit-code")
            check_breaking(arguments.against)
            check_generated()
    except subprocess.CalledProcessError as failed:
        sys.exit(f"contract: `{' '.join(failed.cmd)}` failed")


if __name__ == "__main__":
    main()
