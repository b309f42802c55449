"""Measure how time and memory grow with the number of reviews, hidden units and threads.

All figures come from `lstmtext train` (reading and training) or `lstmtext bench` (steps). Larger
corpora repeat the IMDB reviews, with different words at the end of each copy.
"""

import argparse
import csv
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

CONFIG = "configs/imdb.yaml"
csv.field_size_limit(1 << 30)


def reviews(path: Path) -> list[tuple[str, str]]:
    """Return the text and label of the IMDB reviews."""
    with open(path, encoding="utf-8", newline="") as file:
        return [
            (row["text"], row["label"]) for row in csv.DictReader(file) if row["source"] == "imdb"
        ]


def write_corpus(path: Path, source: list[tuple[str, str]], count: int) -> None:
    """Write `count` reviews by repeating those of the source."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for number in range(count):
            text, label = source[number * 7919 % len(source)]
            writer.writerow([f"{text} {number // len(source)} {number}", label])


def train(program: str, directory: Path, corpus: Path) -> dict[str, float]:
    """Train one epoch.

    Return the reading time, the throughput of reading and of training, and the peak memory in MB.
    """
    run, log = directory / "run", directory / "log"
    options = ["data.filter={}", "train.epochs=1", f"data.train={corpus}"]
    options += ["data.split.validation=100", "data.split.test=0"]
    command = [program, "train", CONFIG, "--out", str(run)]
    for option in options:
        command += ["--set", option]
    environment = os.environ | {"LSTMTEXT_CACHE": str(directory / "cache")}
    with open(log, "w", encoding="utf-8") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
    output = log.read_text(encoding="utf-8")
    assert status == 0, output
    read = re.search(r"([\d,]+) training tokens; .* in ([\d.]+) s, ([\d,]+) tokens/s", output)
    assert read, output
    tokens, seconds, rate = (float(number.replace(",", "")) for number in read.groups())
    summary = json.loads((run / "summary.json").read_text())
    return {
        "tokens": tokens,
        "read_seconds": seconds,
        "read_tokens_per_second": rate,
        "train_tokens_per_second": summary["tokens_per_second"],
        "memory": usage.ru_maxrss * 1024 / 1e6,
    }


def bench(program: str, *options: str) -> dict:
    """Return the `lstmtext bench` report of the native backend, and the speed of a large product."""
    command = [program, "bench", CONFIG, "--json", "--set", "backend=native", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    return report["backends"][0] | {"product_gflops": report["product_gflops"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lstmtext", default="target/release/lstmtext")
    parser.add_argument("--data", type=Path, default=Path("data/movie_reviews.csv"))
    parser.add_argument(
        "--reviews", type=int, nargs="*", default=[1_000, 25_000, 250_000, 1_000_000]
    )
    arguments = parser.parse_args()
    program = arguments.lstmtext

    print(
        "| reviews | tokens | read and encoded, s | tokens/s read | tokens/s trained | memory, MB |"
    )
    print("|---|---|---|---|---|---|")
    source = reviews(arguments.data)
    for count in arguments.reviews:
        with tempfile.TemporaryDirectory() as directory:
            corpus = Path(directory) / "reviews.csv"
            write_corpus(corpus, source, count)
            row = train(program, Path(directory), corpus)
        print(
            f"| {count:,} | {row['tokens']:,.0f} | {row['read_seconds']:.1f}"
            f" | {row['read_tokens_per_second']:,.0f} | {row['train_tokens_per_second']:,.0f} | {row['memory']:,.0f} |",
            flush=True,
        )

    print(
        "\n| hidden units | ms per step | GFLOP/s nominal | of the large product |\n|---|---|---|---|"
    )
    for units in (32, 64, 128, 256, 512):
        options = ["--set", f"model.lstm.units={units}", "--set", "model.lstm.bidirectional=false"]
        row = bench(program, "--steps", str(max(2, 1280 // units)), *options)
        share = row["gflops"] / row["product_gflops"]
        print(
            f"| {units} | {1e3 * row['step']:.2f} | {row['gflops']:.0f} | {share:.2f} |", flush=True
        )

    print("\n| hidden units | threads | ms per step | speed-up |\n|---|---|---|---|")
    for units in (32, 128, 256):
        options = ["--steps", str(max(5, 1280 // units)), "--set", f"model.lstm.units={units}"]
        # Alternate, so that other load on the machine affects both equally.
        rounds = [
            [
                bench(program, *options, "--threads", threads, "--rounds", "1")["step"]
                for threads in "12"
            ]
            for _ in range(5)
        ]
        ratios = sorted(one / two for one, two in rounds)
        one, two = (sorted(times)[2] for times in zip(*rounds))
        print(f"| {units} | 1 | {1e3 * one:.2f} | |")
        spread = f"{ratios[2]:.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f})"
        print(f"| {units} | 2 | {1e3 * two:.2f} | {spread} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
