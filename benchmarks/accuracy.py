"""Compare the accuracy of lstmtext with that of linear models, on the same examples.

benchmarks/peers/datasets.py writes the data sets. lstmtext is trained with CONFIG, or with all
defaults, and with the fields of --set; the data and the seed are set here. The tasks:

- imdb: validated on the last 1,250 reviews of each class, which share almost no film with the
  others. One split, seeds 1 to 3.
- imdb_500, imdb_2000: 5 draws of so many of the other reviews, scored on the same 2,500. lstmtext
  splits validation examples off from the draw; the linear models choose C by cross-validation.
- the others: 5 random splits with 10 % of the examples for validation, by which lstmtext chooses
  the epoch, and the linear models C.

The splits and the results of the linear models are kept beside the data sets, so that another
configuration of lstmtext costs only its own time.
"""

import argparse
import csv
import hashlib
import json
import math
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
LINEAR = HERE / "peers" / "linear.py"
DATA = Path("data/accuracy")

SPLITS = 5
IMDB_SEEDS = 3
HELD_OUT = 1250  # reviews of each class
DRAWS = {"imdb_500": 500, "imdb_2000": 2000}
RANDOM_SPLITS = ("trec", "news", "questions", "sentences", "banking", "newsgroups")
TASKS = ("imdb", *DRAWS, *RANDOM_SPLITS)
DEFAULT_TASKS = TASKS[:-2]

TFIDF = ("svm", "logistic")
Row = dict[str, str]
csv.field_size_limit(1 << 30)


def read(name: str) -> list[Row]:
    """Return the examples of a data set."""
    path = DATA / f"{name}.csv"
    if not path.exists():
        sys.exit(f"accuracy: {path} does not exist; run benchmarks/peers/datasets.py {name}")
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write(directory: Path, **parts: list[Row]) -> None:
    """Write the parts of a split like `lstmtext data split`."""
    for name, rows in parts.items():
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (directory / f"{name}.jsonl").write_text(lines, encoding="utf-8")


def write_imdb(directory: Path, task: str, number: int) -> None:
    """Hold out the end of each class, and draw from the rest for tasks with few labels."""
    train, held_out = [], []
    by_label: dict[str, list[Row]] = {}
    for row in read("imdb"):
        by_label.setdefault(row["label"], []).append(row)
    for rows in by_label.values():
        rest = rows[:-HELD_OUT]
        if task in DRAWS:
            rest = random.Random(number).sample(rest, DRAWS[task] // len(by_label))
        train += rest
        held_out += rows[-HELD_OUT:]
    write(directory, train=train, **{"test" if task in DRAWS else "validation": held_out})


def split(task: str, number: int, program: str) -> Path:
    """Return the directory with a split, and write it if it does not exist yet."""
    target = DATA / "splits" / f"{task}-{number}"
    if target.exists():
        return target
    target.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        directory = Path(temporary) / "split"
        if task in RANDOM_SPLITS:
            read(task)
            config = write_config(Path(temporary))
            options = [f"data.train={DATA / task}.csv", f"data.split.seed={number}"]
            command = [program, "data", "split", config, "--to", directory, *sets(options)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        else:
            directory.mkdir()
            write_imdb(directory, task, number)
        directory.rename(target)
    return target


def write_config(directory: Path) -> Path:
    """Write a configuration with all defaults."""
    path = directory / "defaults.yaml"
    path.write_text("data:\n  train: train.jsonl\n")
    return path


def sets(options: list[str]) -> Iterator[str]:
    for option in options:
        yield "--set"
        yield option


def train_linear(directory: Path, python: str) -> dict[str, float]:
    """Return the accuracy of each linear model; train only if the data or the script changed."""
    digest = hashlib.sha256(LINEAR.read_bytes())
    for path in sorted(directory.glob("*.jsonl")):
        digest.update(path.read_bytes())
    cached = DATA / "linear" / f"{directory.name}-{digest.hexdigest()[:16]}.json"
    if not cached.exists():
        cached.parent.mkdir(exist_ok=True)
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        command = [python, str(LINEAR), str(directory)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment)
        if done.returncode != 0:
            sys.exit(f"accuracy: {LINEAR.name} failed (see its message above)")
        part = cached.with_suffix(".part")
        part.write_text(done.stdout)
        part.replace(cached)
    results = json.loads(cached.read_text())
    return {
        name: result.get("test_accuracy", result["validation_accuracy"])
        for name, result in results.items()
    }


def train_lstmtext(directory: Path, seed: int, arguments: argparse.Namespace) -> dict[str, float]:
    """Return the accuracy of lstmtext and its training time."""
    with tempfile.TemporaryDirectory() as temporary:
        run = Path(temporary) / "run"
        config = arguments.config or write_config(Path(temporary))
        data = {part: directory / f"{part}.jsonl" for part in ("train", "validation", "test")}
        options = [f"data.train={data['train']}", f"train.seed={seed}", *arguments.set]
        if data["validation"].exists():
            options.append(f"data.validation={data['validation']}")
        threads = ["--threads", str(arguments.threads)]
        command = [
            arguments.lstmtext,
            "train",
            config,
            "--no-test",
            "--out",
            run,
            *threads,
            *sets(options),
        ]
        with open(Path(temporary) / "log", "w+", encoding="utf-8") as log:
            if subprocess.run(command, stdout=log, stderr=log).returncode != 0:
                log.seek(0)
                sys.exit(log.read())
        summary = json.loads((run / "summary.json").read_text())
        accuracy = summary["validation"]["accuracy"]
        if data["test"].exists():
            command = [
                arguments.lstmtext,
                "evaluate",
                run,
                "--data",
                data["test"],
                "--json",
                *threads,
            ]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
            accuracy = json.loads(done.stdout)["accuracy"]
    return {"accuracy": accuracy, "seconds": summary["seconds"]}


def mean(values: list[float], signed: bool = False) -> str:
    """Format the mean of accuracies or differences in %, and its standard error."""
    text = f"{100 * statistics.fmean(values):{'+' if signed else ''}.2f}"
    if len(set(values)) < 2:
        return text
    return f"{text} ± {100 * statistics.stdev(values) / math.sqrt(len(values)):.2f}"


def difference(a: list[float], b: list[float]) -> str:
    return mean([x - y for x, y in zip(a, b, strict=True)], signed=True)


def table(results: dict[str, list[dict]], earlier: dict[str, list[dict]]) -> str:
    """Return a Markdown table of results by task; each has one entry per run."""
    lines = [
        "| task | runs | SVM | logistic regression | NBSVM | lstmtext"
        " | against TF-IDF | against NBSVM"
        + (" | against earlier" if earlier else "") + " | seconds |"
    ]  # fmt: skip
    lines.append("|---" * (lines[0].count("|") - 1) + "|")
    for task, runs in results.items():
        column = {name: [run[name] for run in runs] for name in runs[0]}
        better = max(TFIDF, key=lambda name: statistics.fmean(column[name]))
        cells = [
            task,
            str(len(runs)),
            *(mean(column[name]) for name in (*TFIDF, "nbsvm", "accuracy")),
        ]
        cells += [difference(column["accuracy"], column[name]) for name in (better, "nbsvm")]
        if earlier:
            before = [run["accuracy"] for run in earlier.get(task, [])][: len(runs)]
            cells.append(difference(column["accuracy"], before) if len(before) == len(runs) else "")
        cells.append(f"{statistics.fmean(column['seconds']):.1f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "config", nargs="?", type=Path, help="configuration; by default all defaults"
    )
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=DEFAULT_TASKS, metavar="TASK",
                        help=f"of {', '.join(TASKS)}; by default without the last two")  # fmt: skip
    parser.add_argument("--runs", type=int, help="first runs of each task only")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--lstmtext", default="target/release/lstmtext", metavar="PROGRAM")
    parser.add_argument("--linear", default=".venv/linear/bin/python", metavar="PYTHON",
                        help="Python with requirements-linear.txt")  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="FILE", help="write all results as JSON")
    parser.add_argument(
        "--compare", type=Path, metavar="FILE", help="results of --out, to compare with"
    )
    arguments = parser.parse_args()
    earlier = json.loads(arguments.compare.read_text()) if arguments.compare else {}
    for option in ("lstmtext", "linear"):
        if not shutil.which(program := getattr(arguments, option)):
            sys.exit(
                f"accuracy: {program} does not exist; create it, or name another with --{option}"
            )

    results: dict[str, list[dict]] = {}
    for task in arguments.tasks:
        runs = IMDB_SEEDS if task == "imdb" else SPLITS
        for number in range(1, min(runs, arguments.runs or runs) + 1):
            directory = split(task, 1 if task == "imdb" else number, arguments.lstmtext)
            linear = train_linear(directory, arguments.linear)
            result = linear | train_lstmtext(directory, number, arguments)
            results.setdefault(task, []).append(result)
            scores = ", ".join(f"{name} {value:.4f}" for name, value in result.items())
            print(f"{task} {number}: {scores}", file=sys.stderr, flush=True)
        if arguments.out:
            arguments.out.write_text(json.dumps(results, indent=1))
    print(table(results, earlier))


if __name__ == "__main__":
    main()
