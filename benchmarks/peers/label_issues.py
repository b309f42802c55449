"""Finds flipped labels with `lstmtext folds --issues` and with cleanlab, on the same probabilities.

Flips the labels of 5 % of the rows of a CSV file, cross-validates on it, and prints for several budgets, numbers
of rows that a person looks at, how many of the flipped labels are among them.

    pip install -r requirements-labels.txt
    python3 label_issues.py reviews.csv mine.yaml --text review --label sentiment

The configuration must read the columns of the file; its `data.train` is replaced.
"""

import argparse
import csv
import pathlib
import random
import subprocess
import tempfile

import numpy as np
from cleanlab.filter import find_label_issues


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def flip(rows, column, share, seed):
    """Changes the labels of a share of the rows. Returns their indices."""
    chosen = random.Random(seed)
    labels = sorted({row[column] for row in rows})
    flipped = set(chosen.sample(range(len(rows)), round(share * len(rows))))
    for index in sorted(flipped):
        rows[index][column] = chosen.choice([name for name in labels if name != rows[index][column]])
    return flipped


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("data")
    arguments.add_argument("config")
    arguments.add_argument("--text", default="text")
    arguments.add_argument("--label", default="label")
    arguments.add_argument("--share", type=float, default=0.05)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--k", default="5")
    arguments.add_argument("--lstmtext", default="lstmtext")
    given = arguments.parse_args()
    rows = read(given.data)
    flipped = flip(rows, given.label, given.share, given.seed)
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        data, issues, out = directory / "flipped.csv", directory / "issues.csv", directory / "folds"
        with open(data, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["number", given.text, given.label])
            writer.writerows(
                [number, row[given.text], row[given.label]] for number, row in enumerate(rows)
            )
        command = [given.lstmtext, "folds", given.config, "--k", given.k, "--out", out]
        command += ["--set", f"data.train={data}", "--issues", issues]
        subprocess.run(command, check=True)
        predictions = read(out / "predictions.csv")
        line_to_index = {row["line"]: index for index, row in enumerate(predictions)}
        by_lstmtext = [line_to_index[row["line"]] for row in read(issues)]
    names = sorted({row["label"] for row in predictions})
    labels = np.array([names.index(row["label"]) for row in predictions])
    probabilities = np.array([[float(row[name]) for name in names] for row in predictions])
    by_cleanlab = find_label_issues(
        labels, probabilities, return_indices_ranked_by="self_confidence"
    ).tolist()
    print(f"{len(flipped)} of {len(rows)} labels flipped")
    print(f"found: lstmtext {len(by_lstmtext)}, cleanlab {len(by_cleanlab)}, "
          f"both {len(set(by_lstmtext) & set(by_cleanlab))}")
    print("budget   lstmtext   cleanlab")
    for factor in (0.5, 1, 1.5, 2):
        budget = round(factor * len(flipped))
        recalls = [len(flipped & set(found[:budget])) / len(flipped) for found in (by_lstmtext, by_cleanlab)]
        print(f"{budget:6}   {100 * recalls[0]:6.1f} %   {100 * recalls[1]:6.1f} %")


if __name__ == "__main__":
    main()
