"""Shared by the workers of speed.py: hyperparameters, encoded reviews, the protocol."""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import reviews


@dataclass(frozen=True)
class System:
    """Hyperparameters of a network and its training, as in the configuration of lstmtext."""

    words: int
    length: int
    keep: str  # ids to keep of a longer text: "first", "last" or "both" ends
    embedding: int
    units: int
    batch: int
    keras_tokens: bool = False  # Keras's tokenizer, after START, padded in front
    mean: bool = True  # pooling: mean of the states, or else the last state
    bidirectional: bool = False
    word_dropout: float = 0.0
    dropout: float = 0.0
    classes: int = 1  # 1: sigmoid, 2: softmax
    optimizer: str = "adam"
    learning_rate: float = 0.001
    clip: float | None = None  # maximum norm of all gradients


SYSTEMS = {
    "500": System(5_000, 500, "last", 32, 100, batch=64, keras_tokens=True, mean=False),
    "80": System(10_000, 80, "first", 128, 32, batch=32, keras_tokens=True, mean=False),
    "200": System(10_000, 200, "last", 64, 32, batch=128, keras_tokens=True, mean=False),
    "theano": System(
        10_000, 100, "first", 128, 128, 16, dropout=0.5, classes=2, optimizer="adadelta",
        learning_rate=1.0,
    ),
    "imdb": System(
        20_000, 400, "both", 64, 32, 32, bidirectional=True, word_dropout=0.5, dropout=0.5,
        learning_rate=0.002, clip=1.0,
    ),
    "large": System(20_000, 400, "both", 300, 256, 64, clip=1.0),
    "wide": System(20_000, 400, "both", 300, 512, 64, bidirectional=True, clip=1.0),
    "long": System(20_000, 1_024, "both", 768, 768, 16, clip=1.0),
}  # fmt: skip


def load(folder: Path, system: System, part: str) -> tuple[list[list[int]], np.ndarray]:
    """Return the ids of the reviews of a split, truncated to the system's length, and their classes."""
    texts, labels = reviews.read(folder, part)
    words = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))["words"]
    vocabulary = {word: reviews.FIRST_WORD + rank for rank, word in enumerate(words)}
    assert len(words) + reviews.FIRST_WORD == system.words
    tokens = reviews.keras_tokens if system.keras_tokens else reviews.word_tokens
    ids = [reviews.encode(tokens(text), vocabulary, system.keras_tokens) for text in texts]
    return [cut(text, system.length, system.keep) for text in ids], labels


def cut(ids: list[int], length: int, keep: str) -> list[int]:
    """Truncate a text to `length` ids."""
    if len(ids) <= length:
        return ids
    start = {"first": length, "last": 0, "both": (length + 1) // 2}[keep]
    return ids[:start] + ids[len(ids) - (length - start) :]


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return the argument parser of every worker."""
    result = argparse.ArgumentParser(description=description)
    result.add_argument("system", choices=SYSTEMS)
    result.add_argument("folder", type=Path, help="directory with train.jsonl and vocabulary.json")
    result.add_argument("--threads", type=int, required=True)
    return result


def serve(ready: dict[str, object], commands: dict[str, Callable[..., dict]]) -> None:
    """Print `ready`, then for each input line the result of the command named by its first word."""
    print(json.dumps(ready), flush=True)
    while line := input_line():
        name, *arguments = line.split()
        print(json.dumps(commands[name](*arguments)), flush=True)


def input_line() -> str | None:
    """Return the next line of standard input, or None at its end."""
    try:
        return input()
    except EOFError:
        return None


def timed(train: Callable[[], float]) -> dict[str, float]:
    """Return the seconds that `train` takes, and the loss that it returns."""
    began = time.perf_counter()
    loss = train()
    return {"seconds": time.perf_counter() - began, "loss": loss}
