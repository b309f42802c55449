"""Compare the word vectors of lstmtext with those of gensim and fastText: words/s and quality.

The programs learn from the same reviews in the same random order with the same settings, one after
another in each round.

    python3 -m venv .venv/vectors
    .venv/vectors/bin/pip install -r benchmarks/peers/requirements-vectors.txt
    .venv/vectors/bin/python benchmarks/word_vectors.py DATA --rounds 2

DATA has train.tsv.gz and unsup.tsv.gz, without a header: label, id, rating, text. The last 1,250
reviews of each class of train.tsv.gz are validation examples.

Words/s count all occurrences of words of the vocabulary, also those that are skipped, in the time
of learning: without reading the texts and counting their words, except that fastText reads the
file again in each epoch. With several threads, gensim's learning rate stays too high: it falls with
the words of one thread as a part of those of all threads.

Quality is the accuracy of a logistic regression of the mean vector of a review, and the nearest
neighbours of some words.
"""

import argparse
import gzip
import random
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import fasttext
import numpy
from gensim.models import FastText, Word2Vec
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

HELD_OUT = 1250  # reviews of each class
MIN_COUNT = 5
NGRAMS = (3, 6)  # smallest and largest size of character n-grams
WORD = re.compile("[a-z0-9]+")
SHOWN = ("excellent", "boring", "actress", "japanese", "seven")
NEIGHBOURS = 5


@dataclass(frozen=True)
class Settings:
    method: str
    size: int
    epochs: int
    threads: int
    buckets: int  # of character n-grams; 0: words only

    @property
    def rate(self) -> float:
        return 0.05 if self.method == "cbow" else 0.025


@dataclass
class Learned:
    words: list[str]
    vectors: numpy.ndarray  # [words, size]
    seconds: float  # of learning


def tokens_of(text: str) -> list[str]:
    return WORD.findall(text.lower())


def read(path: Path) -> list[tuple[str, list[str]]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
        rows = (line.rstrip("\n").split("\t", 3) for line in file)
        return [(label, tokens_of(text)) for label, _, _, text in rows]


def lstmtext(program: str, texts: Path, settings: Settings) -> Learned:
    path = texts.with_name("lstmtext.vec")
    fields = {
        "text.tokenizer": "whitespace",
        "text.min_count": MIN_COUNT,
        "text.vocabulary_size": 10_000_000,
        "model.embedding.size": settings.size,
        "pretrain.vectors.method": settings.method,
        "pretrain.vectors.epochs": settings.epochs,
        "pretrain.vectors.learning_rate": settings.rate,
    }
    if settings.buckets:
        fields["model.embedding.subwords.sizes"] = list(NGRAMS)
        fields["model.embedding.subwords.buckets"] = settings.buckets
    sets = [word for field, value in fields.items() for word in ("--set", f"{field}={value}")]
    command = [program, "vectors", texts, "--to", path, "--threads", str(settings.threads), *sets]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    rate = float(re.findall(r"([\d,]+) tokens/s, loss", shown)[-1].replace(",", ""))
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    fields = [line.split(" ") for line in lines]
    vectors = numpy.array([values[1:] for values in fields], dtype=numpy.float32)
    return Learned([values[0] for values in fields], vectors, 1 / rate)


def gensim(texts: Path, settings: Settings) -> Learned:
    ngrams = dict(zip(("min_n", "max_n"), NGRAMS, strict=True), bucket=settings.buckets)
    model = (FastText if settings.buckets else Word2Vec)(
        vector_size=settings.size, window=5, negative=5, sample=1e-3, min_count=MIN_COUNT,
        alpha=settings.rate, min_alpha=0, sg=int(settings.method == "skipgram"), cbow_mean=1,
        workers=settings.threads, epochs=settings.epochs, **(ngrams if settings.buckets else {}),
    )  # fmt: skip
    model.build_vocab(corpus_file=str(texts))
    start = time.perf_counter()
    model.train(
        corpus_file=str(texts), total_words=model.corpus_total_words, epochs=settings.epochs,
        start_alpha=settings.rate, end_alpha=0,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    return Learned(model.wv.index_to_key, model.wv.vectors, seconds)


def fast_text(texts: Path, settings: Settings) -> Learned:
    smallest, largest = NGRAMS if settings.buckets else (0, 0)

    def train(epochs: int) -> tuple[object, float]:
        start = time.perf_counter()
        model = fasttext.train_unsupervised(
            str(texts), model=settings.method, dim=settings.size, ws=5, neg=5, t=1e-3,
            minCount=MIN_COUNT, minn=smallest, maxn=largest, bucket=max(settings.buckets, 1),
            lr=settings.rate, epoch=epochs, thread=settings.threads, verbose=0,
        )  # fmt: skip
        return model, time.perf_counter() - start

    _, reading = train(0)
    model, seconds = train(settings.epochs)
    words = [word for word in model.get_words() if word != "</s>"]
    vectors = numpy.array([model.get_word_vector(word) for word in words])
    return Learned(words, vectors, seconds - reading)


def mean_vectors(reviews: list[list[str]], learned: Learned) -> numpy.ndarray:
    ids = {word: index for index, word in enumerate(learned.words)}
    rows, columns = [], []
    for row, words in enumerate(reviews):
        known = [ids[word] for word in words if word in ids]
        rows += [row] * len(known)
        columns += known
    shape = (len(reviews), len(ids))
    counts = csr_matrix((numpy.ones(len(rows)), (rows, columns)), shape=shape)
    return counts @ learned.vectors / numpy.maximum(counts.sum(axis=1).A, 1)


def accuracy(train, validation, learned: Learned) -> float:
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    parts = [mean_vectors([words for _, words in part], learned) for part in (train, validation)]
    model.fit(parts[0], [label for label, _ in train])
    return 100 * model.score(parts[1], [label for label, _ in validation])


def neighbours(learned: Learned, word: str) -> list[str]:
    units = learned.vectors / numpy.linalg.norm(learned.vectors, axis=1, keepdims=True)
    similarities = units @ units[learned.words.index(word)]
    nearest = numpy.argsort(-similarities)[1 : NEIGHBOURS + 1]
    return [learned.words[index] for index in nearest]


def main() -> None:
    formatter = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--program", default="target/release/lstmtext")
    parser.add_argument("--texts", type=int, default=40_000, help="number of reviews to learn from")
    parser.add_argument("--method", choices=("cbow", "skipgram"), default="cbow")
    parser.add_argument("--size", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--buckets", type=int, default=0, help="learn character n-grams of this many buckets, too"
    )
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    settings = Settings(args.method, args.size, args.epochs, args.threads, args.buckets)

    labelled = read(args.data / "train.tsv.gz")
    classes = [[row for row in labelled if row[0] == name] for name in ("neg", "pos")]
    train = [row for rows in classes for row in rows[:-HELD_OUT]]
    validation = [row for rows in classes for row in rows[-HELD_OUT:]]
    texts = [words for _, words in train + read(args.data / "unsup.tsv.gz")][: args.texts]
    random.Random(1).shuffle(texts)

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "texts.txt"
        path.write_text("".join(" ".join(words) + "\n" for words in texts), encoding="utf-8")
        systems: dict[str, Callable[[], Learned]] = {
            "lstmtext": lambda: lstmtext(args.program, path, settings),
            "gensim": lambda: gensim(path, settings),
            "fastText": lambda: fast_text(path, settings),
        }
        speeds = {name: [] for name in systems}
        last = {}
        for number in range(args.rounds):
            for name, learn in systems.items():
                learned = last[name] = learn()
                if name == "lstmtext":
                    speeds[name].append(1 / learned.seconds)
                    continue
                known = set(learned.words)
                occurrences = sum(word in known for words in texts for word in words)
                speeds[name].append(occurrences * settings.epochs / learned.seconds)
            shown = ", ".join(f"{name} {speeds[name][-1]:,.0f}" for name in systems)
            print(f"round {number + 1}: {shown} words/s", flush=True)

    print(f"\n{len(texts):,} texts, {sum(map(len, texts)):,} words, {settings}\n")
    print("| program | words/s | ratio | words | accuracy, % |\n|---|---|---|---|---|")
    for name, values in speeds.items():
        ratios = [own / ours for own, ours in zip(values, speeds["lstmtext"], strict=True)]
        print(
            f"| {name} | {statistics.median(values):,.0f} | {statistics.median(ratios):.2f} "
            f"| {len(last[name].words):,} | {accuracy(train, validation, last[name]):.2f} |"
        )
    print()
    for word in SHOWN:
        for name in systems:
            print(f"{word:10} {name:9} {', '.join(neighbours(last[name], word))}")


if __name__ == "__main__":
    main()
