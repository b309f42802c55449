"""Saved models."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from . import _lstmtext


def load(path: str | os.PathLike[str], *, threads: int | None = None) -> Model:
    """Load a run (its best checkpoint), a checkpoint or an ensemble.

    `threads` is the number of CPU threads; by default there is one per core.
    """
    return Model(path, threads=threads)


class Model:
    """A trained model that classifies texts on the CPU.

    All methods take a list (or an array, or a column of a table) of strings. A model with several text columns takes
    a mapping from their names to lists, such as a pandas DataFrame. Several threads can use a model; it computes
    for one at a time, and other threads of Python go on meanwhile.
    """

    def __init__(self, path: str | os.PathLike[str], *, threads: int | None = None) -> None:
        self._path = os.path.abspath(os.fspath(path))
        if not os.path.exists(self._path):
            raise FileNotFoundError(errno.ENOENT, "no run, checkpoint or ensemble", self._path)
        self._threads = threads
        self._model = _lstmtext.Model(self._path, threads)

    @property
    def labels(self) -> list[str]:
        """Labels in the order of the columns of `predict_proba`."""
        return self._model.labels

    @property
    def columns(self) -> list[str]:
        """Names of the text columns."""
        return self._model.columns

    @property
    def multi_label(self) -> bool:
        """True if a text can have several labels, or none."""
        return self._model.multi_label

    def predict(self, texts: Any, *, batch_size: int = 256) -> list[Any]:
        """Return the label of each text; a list of labels for each if a text can have several.

        The decision is that of `lstmtext predict`: with thresholds, if the model has been calibrated with them.
        """
        _, predicted = self._model.probabilities(self._columns(texts), batch_size)
        labels = self.labels
        if self.multi_label:
            return [[labels[index] for index in row] for row in predicted]
        return [labels[row[0]] for row in predicted]

    def predict_proba(self, texts: Any, *, batch_size: int = 256) -> np.ndarray:
        """Return the probability of each label, float64 [texts, labels], in the order of `labels`."""
        return self._model.probabilities(self._columns(texts), batch_size)[0]

    def embed(self, texts: Any, *, batch_size: int = 256) -> np.ndarray:
        """Return the pooled hidden states of the LSTM, float32 [texts, size]."""
        return self._model.embed(self._columns(texts), batch_size)

    def explain(
        self,
        text: str | Mapping[str, str],
        *,
        label: str | None = None,
        method: str | None = None,
    ) -> dict[str, Any]:
        """Return the contribution of each word to the log-odds of a label.

        The label is the predicted one by default. The method is "integrated-gradients" or "leave-one-out". The
        result has the fields of `lstmtext explain --json`.
        """
        if isinstance(text, str):
            texts = self._columns([text])
        else:
            texts = self._columns({name: [value] for name, value in text.items()})
        return json.loads(self._model.explain([column[0] for column in texts], label, method))

    def tokenize(self, texts: Iterable[str]) -> list[list[str]]:
        """Return the tokens of each text, before words are looked up and long texts are truncated."""
        return self._model.tokenize(strings(texts))

    def _columns(self, texts: Any) -> list[list[str]]:
        return as_columns(texts, self.columns)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_load, (self._path, self._threads))

    def __repr__(self) -> str:
        return f"lstmtext.load({self._path!r})"


def _load(path: str, threads: int | None) -> Model:
    return Model(path, threads=threads)


def as_columns(texts: Any, names: list[str]) -> list[list[str]]:
    """Return the texts of each of these columns."""
    if is_table(texts):
        missing = [name for name in names if name not in texts]
        if missing:
            raise ValueError(
                f"the texts have no column {', '.join(missing)}; the model reads {', '.join(names)}"
            )
        columns = [strings(texts[name]) for name in names]
        if len({len(column) for column in columns}) > 1:
            raise ValueError("the columns differ in their numbers of texts")
        return columns
    if len(names) > 1:
        raise ValueError(
            f"the model reads the columns {', '.join(names)}; pass a dict or a DataFrame with them"
        )
    return [strings(texts)]


def is_table(texts: Any) -> bool:
    """Return True for a mapping from names to columns, or a DataFrame."""
    return isinstance(texts, Mapping) or (hasattr(texts, "columns") and hasattr(texts, "keys"))


def strings(texts: Any) -> list[str]:
    """Return a list of strings."""
    if isinstance(texts, str):
        raise TypeError("expected several texts, but found a string; pass a list: [text]")
    texts = list(texts)
    for index, text in enumerate(texts):
        # NumPy's strings are strings.
        if not isinstance(text, str):
            raise TypeError(f"text {index} is {text!r} of type {type(text).__name__}, not a string")
    return [str(text) for text in texts]
