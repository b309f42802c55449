"""Train linear models of n-grams on the examples written by `lstmtext data split`.

- svm, logistic: scikit-learn's TfidfVectorizer (1-2-grams, sublinear_tf=True) with LinearSVC or
  LogisticRegression.
- nbsvm: binary 1-3-grams of words and punctuation, scaled by Naive Bayes log-count ratios, with
  LinearSVC (Wang and Manning 2012). The weights are not interpolated with their mean magnitude as
  in the paper: with beta = 0.25, long texts lost up to 8 points, and sentences gained 1.

C is chosen from GRIDS: on validation.jsonl or, if there is none, by 5-fold cross-validation on
train.jsonl. The final model is trained on all of train.jsonl.
"""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from reviews import word_tokens
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import LinearSVC

GRIDS = {
    "svm": (0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
    "logistic": (3.0, 10.0, 30.0, 100.0),
    "nbsvm": (0.001, 0.01, 0.1, 1.0),
}
FOLDS = 5
SMOOTHING = 1.0  # alpha in the paper

Examples = tuple[list[str], np.ndarray]  # texts, and their labels
Features = sparse.csr_matrix
Predictor = Callable[[Features], np.ndarray]


def read(directory: Path, part: str) -> Examples | None:
    """Return the examples of "train", "validation" or "test", if there are any."""
    path = directory / f"{part}.jsonl"
    if not path.exists():
        return None
    with open(path, encoding="utf-8") as lines:
        examples = [json.loads(line) for line in lines]
    return [example["text"] for example in examples], np.array([str(e["label"]) for e in examples])


def tfidf() -> TfidfVectorizer:
    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, dtype=np.float32)


def binary_ngrams() -> CountVectorizer:
    return CountVectorizer(
        ngram_range=(1, 3), binary=True, tokenizer=word_tokens, token_pattern=None, lowercase=False,
        dtype=np.float32,
    )  # fmt: skip


def fit_svm(features: Features, labels: np.ndarray, c: float) -> Predictor:
    return LinearSVC(C=c, random_state=1).fit(features, labels).predict


def fit_logistic(features: Features, labels: np.ndarray, c: float) -> Predictor:
    return LogisticRegression(C=c, max_iter=1000).fit(features, labels).predict


def fit_nbsvm(features: Features, labels: np.ndarray, c: float) -> Predictor:
    """Train one class against the rest; of two classes, only the second."""
    classes = np.unique(labels)
    weights, biases = [], []
    for label in classes[1:] if len(classes) == 2 else classes:
        positive = labels == label
        inside = SMOOTHING + np.asarray(features[positive].sum(axis=0)).ravel()
        outside = SMOOTHING + np.asarray(features[~positive].sum(axis=0)).ravel()
        ratio = np.log(inside / inside.sum()) - np.log(outside / outside.sum())
        scaled = features @ sparse.diags(ratio.astype(np.float32), format="csr")
        model = LinearSVC(C=c, random_state=1).fit(scaled, positive)
        weights.append(ratio * model.coef_.ravel())
        biases.append(model.intercept_[0])
    matrix = np.array(weights).T.astype(np.float32)

    def predict(features: Features) -> np.ndarray:
        scores = features @ matrix + np.array(biases)
        return classes[
            (scores[:, 0] > 0).astype(int) if len(classes) == 2 else scores.argmax(axis=1)
        ]

    return predict


MODELS = {
    "svm": (tfidf, fit_svm),
    "logistic": (tfidf, fit_logistic),
    "nbsvm": (binary_ngrams, fit_nbsvm),
}


def run(name: str, train: Examples, validation: Examples | None, test: Examples | None) -> dict:
    """Choose C, and return it with the accuracies; the model is trained on all of `train`."""
    start = time.perf_counter()
    make_vectorizer, fit = MODELS[name]
    texts, labels = train
    # In cross-validation, the n-grams (and their document frequencies) are those of all folds.
    vectorizer = make_vectorizer()
    features = vectorizer.fit_transform(texts)
    scores: dict[float, float] = {}
    if validation:
        held_out = vectorizer.transform(validation[0])
        for c in GRIDS[name]:
            scores[c] = float((fit(features, labels, c)(held_out) == validation[1]).mean())
    else:
        folds = list(StratifiedKFold(FOLDS, shuffle=True, random_state=1).split(texts, labels))
        for c in GRIDS[name]:
            hits = [fit(features[a], labels[a], c)(features[b]) == labels[b] for a, b in folds]
            scores[c] = float(np.concatenate(hits).mean())
    best = max(scores, key=scores.__getitem__)  # the smallest of several
    result = {"c": best, "validation_accuracy": scores[best], "validation_accuracies": scores}
    if test:
        predict = fit(features, labels, best)
        result["test_accuracy"] = float((predict(vectorizer.transform(test[0])) == test[1]).mean())
    return result | {"seconds": time.perf_counter() - start}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path, help="examples written by `lstmtext data split`")
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    parts = [read(arguments.directory, part) for part in ("train", "validation", "test")]
    results = {}
    for name in arguments.models:
        results[name] = run(name, *parts)
        print(name, json.dumps(results[name]), file=sys.stderr, flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
