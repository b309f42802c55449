#!/usr/bin/env python3
"""Compares `lstmtext tune` with random search and with fastText's autotune, in the same time on the same cores.

    python3 -m venv /tmp/fasttext
    /tmp/fasttext/bin/pip install fasttext-wheel "numpy<2"
    /tmp/fasttext/bin/python benchmarks/tuning.py --train train.jsonl --validation validation.jsonl --minutes 5

The data are JSON lines with "text" and "label". All methods choose by the accuracy on the validation examples, and the
score is that of the best model that each has found. No test examples are used: the scores compare searches, and are a
little too good for new texts.
"""

import argparse
import contextlib
import json
import os
import re
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

METHODS = ["tpe", "asha", "random", "fasttext"]


def rows(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def search(args, method, seed, directory):
    """Runs `lstmtext tune`. Returns the best accuracy, and its rise over the time in minutes."""
    config = directory / "data.yaml"
    config.write_text(
        f"data: {{train: {args.train.resolve()}, validation: {args.validation.resolve()}}}\n"
        "train: {early_stopping: {metric: accuracy}}\n",
        encoding="utf-8",
    )
    out = directory / f"{method}-{seed}"
    command = [args.lstmtext, "tune", config, "--budget", f"{round(60 * args.minutes)}s"]
    command += ["--method", method, "--search-seed", str(seed), "--out", out, "--set", f"train.seed={seed}"]
    subprocess.run(command, check=True, capture_output=True)
    best, curve, trials = 0.0, [], 0
    for line in (out / "trials.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        trials += entry["event"] == "began"
        if entry["event"] == "reached" and entry["score"]["accuracy"] > best:
            best = entry["score"]["accuracy"]
            curve.append((entry["elapsed"] / 60, best))
    return best, curve, f"{trials} trials"


def fasttext_line(row):
    text = re.sub(r"([^\w\s])", r" \1 ", re.sub(r"<[^>]+>", " ", row["text"].lower()))
    return f"__label__{str(row['label']).replace(' ', '_')} {' '.join(text.split())}\n"


@contextlib.contextmanager
def silenced_stderr():
    """Hides the progress that fastText prints whatever its verbosity."""
    saved = os.dup(2)
    with open(os.devnull, "w", encoding="utf-8") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def autotune(args, seed, directory):
    """Runs fastText's autotune. Returns the accuracy of the model."""
    import fasttext

    files = {}
    for name in ["train", "validation"]:
        files[name] = directory / f"{name}.txt"
        if not files[name].exists():
            lines = map(fasttext_line, rows(getattr(args, name)))
            files[name].write_text("".join(lines), encoding="utf-8")
    start = time.monotonic()
    with silenced_stderr():
        model = fasttext.train_supervised(
            str(files["train"]),
            autotuneValidationFile=str(files["validation"]),
            autotuneDuration=round(60 * args.minutes),
            thread=args.threads,
            seed=seed,
            verbose=0,
        )
    _, precision, _ = model.test(str(files["validation"]))
    return precision, [], f"{(time.monotonic() - start) / 60:.1f} min with the final training"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--validation", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--lstmtext", default="target/release/lstmtext")
    args = parser.parse_args()
    print(f"{len(rows(args.train))} training and {len(rows(args.validation))} validation examples")
    scores = {method: [] for method in args.methods}
    with tempfile.TemporaryDirectory() as directory:
        for seed in range(1, args.seeds + 1):
            for method in args.methods:
                if method == "fasttext":
                    best, curve, remark = autotune(args, seed, Path(directory))
                else:
                    best, curve, remark = search(args, method, seed, Path(directory))
                scores[method].append(best)
                steps = " ".join(f"{minutes:.1f}:{100 * accuracy:.2f}" for minutes, accuracy in curve)
                print(f"seed {seed}  {method:8}  {100 * best:6.2f} %  {remark}  {steps}", flush=True)
    for method, values in scores.items():
        median = 100 * statistics.median(values)
        print(f"{method:8}  median {median:.2f} %  {min(values):.4f} to {max(values):.4f}")


if __name__ == "__main__":
    main()
