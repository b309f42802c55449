"""Predictions of LSTM text classifiers, and their training from Python.

    model = lstmtext.load("runs/a")
    model.predict(["What a superb film!"])          # ["positive"]
    model.predict_proba(["What a superb film!"])    # array of [texts, labels]

`LstmTextClassifier` trains like a classifier of scikit-learn. The command `lstmtext` does the rest; `program()` is
its path.
"""

from __future__ import annotations

from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

from ._model import Model, load
from ._program import program

if TYPE_CHECKING:
    from .sklearn import LstmTextClassifier

__all__ = ["LstmTextClassifier", "Model", "load", "program"]
__version__ = _version("lstmtext")


def __getattr__(name: str) -> Any:
    # scikit-learn is optional, and takes a second to import.
    if name == "LstmTextClassifier":
        from .sklearn import LstmTextClassifier

        return LstmTextClassifier
    raise AttributeError(f"module 'lstmtext' has no attribute {name!r}")
