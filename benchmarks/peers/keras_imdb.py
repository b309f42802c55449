"""Train the Keras systems on the IMDB reviews and print their scores as a line of JSON."""

import argparse
import json
import os
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

import reviews


@dataclass(frozen=True)
class System:
    """Hyperparameters of a published system."""

    words: int
    length: int
    keep: str  # ids to keep of a longer text: "first" or "last"
    embedding: int
    units: int
    batch: int
    epochs: int
    patience: int | None = None


SYSTEMS = {
    "500": System(5_000, 500, "last", embedding=32, units=100, batch=64, epochs=3),
    "80": System(10_000, 80, "first", embedding=128, units=32, batch=32, epochs=10),
    "200": System(10_000, 200, "last", embedding=64, units=32, batch=128, epochs=10, patience=3),
}


class Progress(keras.callbacks.Callback):
    """Measure the training time of every epoch, without validation, and print the progress."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.began = time.perf_counter()

    def on_test_begin(self, logs: dict | None = None) -> None:
        self.seconds.append(time.perf_counter() - self.began)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        scores = " ".join(f"{name} {value:.4f}" for name, value in (logs or {}).items())
        print(f"epoch {epoch + 1}: {scores}, {self.seconds[-1]:.1f} s", file=sys.stderr)


def load(folder: Path, system: System, limit: int | None) -> dict[str, tuple]:
    """Return the padded ids and the labels of every split."""
    tokens, labels = {}, {}
    for part in ("train", "validation", "test"):
        texts, labels[part] = reviews.read(folder, part)
        tokens[part] = [reviews.keras_tokens(text) for text in texts]
    tokens["train"], labels["train"] = tokens["train"][:limit], labels["train"][:limit]
    vocabulary = reviews.build_vocabulary(tokens["train"], system.words)
    data = {}
    for part, split in tokens.items():
        ids = [reviews.encode(text, vocabulary, start=True) for text in split]
        padded = reviews.pad_front(ids, system.length, system.keep)
        data[part] = (padded, labels[part].astype(np.float32))
    return data


def build(system: System) -> keras.Model:
    """Return the network with Keras's initial weights and Adam."""
    model = keras.Sequential(
        [
            keras.Input((system.length,), dtype="int32"),
            keras.layers.Embedding(system.words, system.embedding),
            keras.layers.LSTM(system.units),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("system", choices=SYSTEMS)
    parser.add_argument("folder", type=Path, help="directory written by lstmtext data split")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=int, help="number of texts to train on, for a quick test")
    arguments = parser.parse_args()

    system = SYSTEMS[arguments.system]
    data = load(arguments.folder, system, arguments.limit)
    keras.utils.set_random_seed(arguments.seed)
    model = build(system)
    progress = Progress()
    callbacks: list[keras.callbacks.Callback] = [progress]
    if system.patience is not None:
        callbacks.append(
            keras.callbacks.EarlyStopping(
                monitor="val_loss", patience=system.patience, restore_best_weights=True
            )
        )
    model.fit(
        *data["train"],
        batch_size=system.batch,
        epochs=system.epochs,
        validation_data=data["validation"],
        callbacks=callbacks,
        verbose=0,
    )
    _, validation_accuracy = model.evaluate(*data["validation"], verbose=0)
    test_loss, test_accuracy = model.evaluate(*data["test"], verbose=0)
    result = {
        "system": arguments.system,
        "seed": arguments.seed,
        "validation_accuracy": round(validation_accuracy, 4),
        "test_accuracy": round(test_accuracy, 4),
        "test_loss": round(test_loss, 4),
        "epochs": len(progress.seconds),
        "seconds_per_epoch": round(statistics.median(progress.seconds), 2),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
