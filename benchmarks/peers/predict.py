"""Measure prediction: lstmtext from a file, PyTorch from ids, with equal results.

The run is one of configs/imdb_lstm.yaml. lstmtext's time is that of the whole process: start, loading,
reading, encoding, prediction, printing. PyTorch's time is that of the network alone, on reviews that
are already encoded and sorted by length, in batches of the fastest size found in a trial. The time
that Python needs to encode them is reported separately.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

import reviews
from speed_torch import Best
from speed_worker import SYSTEMS, cut

T = TypeVar("T")

SYSTEM = SYSTEMS["imdb"]
SIZES = (32, 64, 128, 256, 512)  # batch sizes tried in PyTorch
TRIAL = 20  # batches of 128 reviews
FIRST_ANSWERS = 9


def texts(program: str, folder: Path) -> list[str]:
    """Return all reviews, one per line."""
    command = [program, "data", "split", "configs/imdb.yaml", "--to", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    parts = ("train", "validation", "test")
    return [" ".join(text.split()) for part in parts for text in reviews.read(folder, part)[0]]


def network(checkpoint: Path) -> Best:
    """Load the trained network."""
    file = (checkpoint / "model.safetensors").read_bytes()
    size = int.from_bytes(file[:8], "little")
    weights = {}
    for name, entry in json.loads(file[8 : 8 + size]).items():
        if name == "__metadata__":
            continue
        start, end = (8 + size + offset for offset in entry["data_offsets"])
        weight = torch.frombuffer(bytearray(file[start:end]), dtype=torch.float32)
        # Best has a separate LSTM for each direction.
        name, backwards = name.removesuffix("_reverse"), name.endswith("_reverse")
        weights[name.replace("lstm.", f"lstms.{int(backwards)}.")] = weight.view(entry["shape"])
    result = Best(SYSTEM, sparse=False)
    result.load_state_dict(weights)
    result.word_dropout = 0
    return result.eval()


def batches(coded: list[list[int]], size: int) -> list[list[int]]:
    """Return the indices of the reviews of each batch, sorted by length."""
    order = sorted(range(len(coded)), key=lambda place: len(coded[place]))
    return [order[start : start + size] for start in range(0, len(order), size)]


def classify(model: Best, ids: Tensor, lengths: Tensor, order: list[list[int]]) -> Tensor:
    """Return the probability of "positive" for each review."""
    result = torch.empty(len(lengths))
    with torch.inference_mode():
        for places in order:
            chosen = torch.tensor(places)
            here = lengths[chosen]
            logits = model(ids[chosen, : int(here.max())], here)
            result[chosen] = logits[:, 0].sigmoid()
    return result


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Return the seconds that `work` takes, and its result."""
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def spread(values: list[float], digits: int) -> str:
    """Format the median, minimum and maximum."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run of configs/imdb_lstm.yaml")
    parser.add_argument("--lstmtext", default="target/release/lstmtext")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)

    with tempfile.TemporaryDirectory() as folder:
        lines = texts(arguments.lstmtext, Path(folder) / "all")
        file = Path(folder) / "reviews.txt"
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        words = json.loads((arguments.run / "best/vocabulary.json").read_text(encoding="utf-8"))
        vocabulary = {word: number for number, word in enumerate(words)}
        coding, coded = timed(
            lambda: [
                cut(
                    reviews.encode(reviews.word_tokens(line), vocabulary, start=False),
                    SYSTEM.length,
                    SYSTEM.keep,
                )
                for line in lines
            ]
        )
        lengths = torch.tensor([len(review) for review in coded])
        rows = [torch.tensor(review) for review in coded]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=reviews.PAD)
        model = network(arguments.run / "best")

        sample = [
            place
            for some in batches(coded, 128)[:: max(1, len(coded) // 128 // TRIAL)]
            for place in some
        ]
        some = [coded[place] for place in sample]
        trial = {
            size: min(
                timed(lambda: classify(model, ids[sample], lengths[sample], batches(some, size)))[0]
                for _ in range(2)
            )
            for size in SIZES
        }
        size = min(trial, key=trial.__getitem__)
        order = batches(coded, size)

        command = [
            arguments.lstmtext,
            "predict",
            str(arguments.run),
            "--threads",
            str(arguments.threads),
        ]
        many = [*command, "--file", str(file), "--format", "jsonl"]
        answers_file = Path(folder) / "answers.jsonl"
        ours: list[float] = []
        theirs: list[float] = []
        for _ in range(arguments.rounds + 1):
            with open(answers_file, "wb") as out:
                seconds, _ = timed(lambda: subprocess.run(many, check=True, stdout=out))
            ours.append(seconds)
            seconds, probabilities = timed(lambda: classify(model, ids, lengths, order))
            theirs.append(seconds)
        ours, theirs = ours[1:], theirs[1:]
        first = [
            timed(lambda: subprocess.run([*command, lines[0]], check=True, capture_output=True))[0]
            for _ in range(FIRST_ANSWERS)
        ]

        with open(answers_file, encoding="utf-8") as written:
            answers = [json.loads(line) for line in written]
    own = torch.tensor([
        answer["probability"] if answer["label"] == "positive" else 1 - answer["probability"]
        for answer in answers
    ])  # fmt: skip
    print(f"{len(lines):,} reviews, {int(lengths.sum()):,} tokens; batches of {size} in PyTorch")
    print(f"probabilities differ by at most {float((own - probabilities).abs().max()):.1e}")
    print(
        f"lstmtext, whole process, s: {spread(ours, 2)}; {len(lines) / statistics.median(ours):,.0f} texts/s"
    )
    print(
        f"PyTorch, network alone, s: {spread(theirs, 2)}; {len(lines) / statistics.median(theirs):,.0f} texts/s"
    )
    print(f"PyTorch / lstmtext: {spread([theirs / ours for ours, theirs in zip(ours, theirs)], 2)}")
    both = [(coding + theirs) / ours for ours, theirs in zip(ours, theirs)]
    print(f"with Python's encoding of the reviews, {coding:.1f} s: {spread(both, 2)}")
    print(f"lstmtext, first result, s: {spread(first, 3)}")


if __name__ == "__main__":
    main()
