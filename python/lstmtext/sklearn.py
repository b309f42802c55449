"""A classifier with the interface of scikit-learn."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ._model import Model, is_table, load, strings
from ._program import program

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.metrics import accuracy_score
    from sklearn.utils.validation import check_is_fitted
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "LstmTextClassifier needs scikit-learn: pip install 'lstmtext[sklearn]'"
    ) from error

# Fields that `fit` sets, because it writes the data.
_OWN_FIELDS = ("data.train", "data.format", "data.label_column", "data.labels")


class LstmTextClassifier(ClassifierMixin, BaseEstimator):
    """An LSTM text classifier with n-grams, trained by the program `lstmtext`.

    It trains in a process of its own: Ctrl-C, a lack of memory, or a full disk end the training, but not Python.

    Parameters
    ----------
    config : path or dict, optional
        Configuration as for `lstmtext train`, without data files, which are replaced.
    settings : dict, optional
        Fields and values as for `--set`, such as `{"model.lstm.units": 64, "train.epochs": 5}`.
    seed : int, optional
        `train.seed`: the same seed and data give the same model.
    threads : int, optional
        Number of CPU threads; one per core by default.
    run_directory : path, optional
        Where to keep the run, for TensorBoard and the other commands. It must not exist. By default, the run
        is deleted with this object.
    verbose : bool
        Show the progress of training on stderr.

    Attributes
    ----------
    classes_ : array of the labels, in the order of the columns of `predict_proba`
    model_ : lstmtext.Model
    summary_ : dict with the content of the run's `summary.json`: scores, best epoch, warnings

    The texts `X` are strings: a list, an array, or a column of a table. A model with several text columns takes
    a DataFrame or a mapping from names to lists. The labels `y` are strings, numbers or booleans. If a text can have
    several labels, `y` is a list of lists of labels, or a matrix of zeros and ones.
    """

    def __init__(
        self,
        config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
        *,
        settings: Mapping[str, Any] | None = None,
        seed: int | None = None,
        threads: int | None = None,
        run_directory: str | os.PathLike[str] | None = None,
        verbose: bool = False,
    ) -> None:
        self.config = config
        self.settings = settings
        self.seed = seed
        self.threads = threads
        self.run_directory = run_directory
        self.verbose = verbose

    def fit(self, X: Any, y: Any) -> LstmTextClassifier:
        """Train on texts and their labels. A part of them is split off as validation data (`data.split`)."""
        columns = _columns(X)
        labels = _Labels(y)
        count = len(next(iter(columns.values())))
        if count != len(labels.rows):
            raise ValueError(f"X has {count} texts, but y has {len(labels.rows)} labels")
        folder = _Folder()
        run = Path(self.run_directory or folder.path / "run")
        data = folder.path / "train.jsonl"
        _write(data, columns, labels)
        self._train(data, run, columns, labels)
        data.unlink()
        self._use(folder if self.run_directory is None else None, run, labels)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return the label of each text; a matrix [texts, labels] of zeros and ones if a text can have several."""
        check_is_fitted(self)
        predicted = self.model_.predict(self._texts(X))
        index = {name: position for position, name in enumerate(self._names)}
        if not self.model_.multi_label:
            return self.classes_[[index[label] for label in predicted]]
        matrix = np.zeros((len(predicted), len(self._names)), dtype=np.int64)
        for row, labels in zip(matrix, predicted):
            row[[index[label] for label in labels]] = 1
        return matrix

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each label, [texts, labels], in the order of `classes_`."""
        check_is_fitted(self)
        order = [self.model_.labels.index(name) for name in self._names]
        return self.model_.predict_proba(self._texts(X))[:, order]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy; with several labels, the share of texts of which all labels are right."""
        y = _Labels(y)
        if y.is_matrix and len(y.names) == len(self._names):
            y = np.asarray(y.values)
        elif y.several:
            y = y.matrix(self._names)
        else:
            y = np.asarray([_plain(value) for value in y.values])
        return float(accuracy_score(y, self.predict(X), sample_weight=sample_weight))

    def _train(
        self, data: Path, run: Path, columns: dict[str, list[str]], labels: _Labels
    ) -> None:
        settings = dict(self.settings or {})
        if self.seed is not None:
            settings["train.seed"] = int(self.seed)
        for field in settings:
            if field in _OWN_FIELDS or field.startswith("data.multi_label"):
                raise ValueError(f"settings: {field} is set by fit")
        names = list(columns)
        settings |= {
            "data.train": str(data),
            "data.format": "json",
            "data.label_column": _label_column(names),
            "data.labels": labels.names,
            "data.multi_label": labels.several,
        }
        config = {} if self.config is None else self.config
        # A configuration with inputs names their columns.
        if names == [_TEXT] or isinstance(config, Mapping) and "inputs" not in config:
            settings.setdefault("data.text_column", names[0] if len(names) == 1 else names)
        if isinstance(config, Mapping):
            sections = json.loads(json.dumps(config))
            sections.setdefault("data", {}).setdefault("train", str(data))
            config = data.with_name("config.yaml")
            # JSON is YAML, but a whole file of it looks like data.
            lines = [f"{name}: {json.dumps(section)}\n" for name, section in sections.items()]
            config.write_text("".join(lines), encoding="utf-8")
        command = [program(), "train", os.fspath(config), "--out", str(run)]
        for field, value in settings.items():
            # A YAML string in quotes is one in JSON, too.
            command += ["--set", f"{field}={json.dumps(_plain(value), ensure_ascii=False)}"]
        if self.threads is not None:
            command += ["--threads", str(self.threads)]
        _run(command, self.verbose)

    def _use(self, folder: _Folder | None, run: Path, labels: _Labels) -> None:
        self._folder = folder
        self._names = labels.names
        self.classes_ = labels.classes
        self.model_ = load(run, threads=self.threads)
        self.summary_ = json.loads((run / "summary.json").read_text(encoding="utf-8"))

    def _texts(self, X: Any) -> Any:
        if len(self.model_.columns) == 1 and not is_table(X):
            return X
        return _columns(X)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__().copy()
        if state.pop("_folder", None) is not None:
            # The model of a temporary run goes with the object, without its optimizer state.
            model = state.pop("model_")
            with tempfile.TemporaryDirectory(prefix="lstmtext-") as folder:
                best = Path(folder) / "best"
                model._model.export_for_prediction(best)
                state["_files"] = {file.name: file.read_bytes() for file in best.iterdir()}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        files = state.pop("_files", None)
        super().__setstate__(state)
        if files is not None:
            self._folder = _Folder()
            best = self._folder.path / "run" / "best"
            best.mkdir(parents=True)
            for name, content in files.items():
                (best / name).write_bytes(content)
            self.model_: Model = load(best.parent, threads=self.threads)


class _Folder:
    """A temporary directory that is deleted with this object."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="lstmtext-"))
        self._delete = weakref.finalize(self, _delete, self.path, os.getpid())


def _delete(folder: Path, process: int) -> None:
    # A fork does not own the directory.
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


# Name of the only text column.
_TEXT = "text"


def _label_column(names: list[str]) -> str:
    """Return a name that no text column has."""
    name = "label"
    while name in names:
        name += "_"
    return name


def _columns(texts: Any) -> dict[str, list[str]]:
    """Return the texts of each column."""
    if is_table(texts):
        names = [str(name) for name in texts.keys()]
        if not names:
            raise ValueError("X has no columns")
        return {name: strings(texts[key]) for name, key in zip(names, texts.keys())}
    array = texts if isinstance(texts, (list, tuple)) else np.asarray(texts, dtype=object)
    if getattr(array, "ndim", 1) == 2 and array.shape[1] == 1:
        array = array[:, 0]
    return {_TEXT: strings(array)}


class _Labels:
    """Labels in the forms that scikit-learn uses."""

    def __init__(self, y: Any) -> None:
        if hasattr(y, "toarray"):
            y = y.toarray()
        elif hasattr(y, "to_numpy"):
            y = y.to_numpy()
            # A DataFrame with the labels in one column.
            y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
        values = list(y)
        if not values:
            raise ValueError("y has no labels")
        self.values = values
        self.several = not _is_scalar(values[0])
        self.is_matrix = False
        if not self.several:
            values = [_plain(value) for value in values]
            self.rows: list[Any] = [_name(value) for value in values]
            self.classes = np.unique(np.asarray(values))
            self.names = [_name(value) for value in self.classes.tolist()]
        else:
            rows = [list(map(_plain, row)) for row in values]
            self.is_matrix = len({len(row) for row in rows}) == 1 and all(
                value in (0, 1) and not isinstance(value, str) for row in rows for value in row
            )
            if self.is_matrix:
                self.classes = np.arange(len(rows[0]))
                self.rows = [
                    [_name(index) for index, value in enumerate(row) if value] for row in rows
                ]
            else:
                self.rows = [list(map(_name, row)) for row in rows]
                self.classes = np.unique(np.asarray([value for row in rows for value in row]))
            self.names = [_name(value) for value in self.classes.tolist()]
        if len(set(self.names)) < len(self.names):
            raise ValueError("two labels differ in their types only, such as 1 and \"1\"")

    def matrix(self, names: list[str]) -> np.ndarray:
        """Return zeros and ones, [texts, labels]. Other labels are an error."""
        unknown = {name for row in self.rows for name in row} - set(names)
        if unknown:
            raise ValueError(f"the model has no label {sorted(unknown)[0]}")
        return np.array([[int(name in row) for name in names] for row in self.rows])


def _is_scalar(value: Any) -> bool:
    return isinstance(value, (str, bytes)) or np.ndim(value) == 0 and not hasattr(value, "__len__")


def _plain(value: Any) -> Any:
    """Return a value of NumPy as one of Python."""
    return value.item() if isinstance(value, np.generic) else value


def _name(value: Any) -> str:
    if value is None or value != value:
        raise ValueError(f"y has a missing label: {value!r}")
    return str(value)


def _write(file: Path, columns: dict[str, list[str]], labels: _Labels) -> None:
    label = _label_column(list(columns))
    with file.open("w", encoding="utf-8") as out:
        for texts, of_text in zip(zip(*columns.values()), labels.rows):
            row = dict(zip(columns, texts)) | {label: of_text}
            out.write(json.dumps(row) + "\n")


def _run(command: list[str], verbose: bool) -> None:
    """Run a command, and raise an error with its message if it fails."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=None if verbose else subprocess.PIPE,
        text=True,
        errors="replace",
    )
    try:
        _, stderr = process.communicate()
    except BaseException:
        # Ctrl-C reached the process, too; it saves its state and ends.
        process.terminate()
        process.wait()
        raise
    if process.returncode != 0:
        lines = (stderr or "").strip().splitlines()
        start = next((at for at, line in enumerate(lines) if line.startswith("error:")), 0)
        shown = "\n".join(lines[start:]) or f"exit code {process.returncode}"
        kind = ValueError if process.returncode == 2 else RuntimeError
        raise kind(f"lstmtext train failed: {shown}")
