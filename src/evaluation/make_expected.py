"""Write expected.json: the scores of synthetic predictions, computed by scikit-learn and SciPy.

The file was made with Python 3.11, scikit-learn 1.9.1, SciPy 1.17.1 and NumPy 2. lstmtext is not used.
"""

import json
import pathlib
import warnings

import numpy as np
from scipy.stats import binomtest
from sklearn import metrics

SEED = 20261121


def calibration_error(right, confidence, bins=15):
    """Bins (i / 15, (i + 1) / 15] of the confidence."""
    bin_of = np.clip(np.ceil(confidence * bins), 1, bins)
    error = 0.0
    for number in np.unique(bin_of):
        chosen = bin_of == number
        error += chosen.mean() * abs(confidence[chosen].mean() - right[chosen].mean())
    return error


def case(name, labels, probabilities):
    labels, classes = np.asarray(labels), probabilities.shape[1]
    numbers = list(range(classes))
    predicted = probabilities.argmax(axis=1)
    hits = int((predicted == labels).sum())
    interval = binomtest(hits, len(labels)).proportion_ci(0.95, method="wilson")
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        labels, predicted, labels=numbers, zero_division=0
    )
    # By default over the classes that occur among the labels or the predictions.
    macro = metrics.precision_recall_fscore_support(
        labels, predicted, average="macro", zero_division=0
    )
    if classes == 2:
        roc_auc = metrics.roc_auc_score(labels, probabilities[:, 1])
        average_precision = metrics.average_precision_score(labels, probabilities[:, 1])
    else:
        # Each class with examples against the rest.
        known = [number for number in numbers if (labels == number).any()]
        against_rest = [(labels == number, probabilities[:, number]) for number in known]
        roc_auc = np.mean([metrics.roc_auc_score(*pair) for pair in against_rest])
        average_precision = np.mean(
            [metrics.average_precision_score(*pair) for pair in against_rest]
        )
        if len(known) == classes:
            assert np.isclose(
                roc_auc, metrics.roc_auc_score(labels, probabilities, multi_class="ovr")
            )
    return {
        "name": name,
        "labels": labels.tolist(),
        "probabilities": probabilities.tolist(),
        "expected": {
            "accuracy": metrics.accuracy_score(labels, predicted),
            "accuracy_interval": [interval.low, interval.high],
            "loss": metrics.log_loss(labels, probabilities, labels=numbers),
            "roc_auc": roc_auc,
            "average_precision": average_precision,
            # Of the highest probability.
            "expected_calibration_error": calibration_error(
                predicted == labels, probabilities.max(axis=1)
            ),
            "macro_average": list(macro[:3]),
            "micro_f1": metrics.f1_score(labels, predicted, average="micro"),
            "weighted_f1": metrics.f1_score(
                labels, predicted, average="weighted", zero_division=0
            ),
            "first_roc_auc": metrics.roc_auc_score(labels == 0, probabilities[:, 0]),
            "first_average_precision": metrics.average_precision_score(
                labels == 0, probabilities[:, 0]
            ),
            "classes": np.stack([precision, recall, f1, support], axis=1).tolist(),
            "confusion": metrics.confusion_matrix(labels, predicted, labels=numbers).tolist(),
        },
    }


def synthetic(random, examples, classes, sharpness, decimals=None):
    """Returns labels, and probabilities that favor them."""
    labels = random.integers(0, classes, examples)
    logits = random.normal(size=(examples, classes))
    logits[np.arange(examples), labels] += sharpness
    probabilities = np.exp(2 * logits)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    if decimals is not None:  # Creates ties.
        probabilities = np.round(probabilities, decimals)
        probabilities = np.clip(probabilities, 0.05, None)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
    return labels, probabilities


def main():
    random = np.random.default_rng(SEED)
    cases = [
        case("two classes", *synthetic(random, 61, 2, 0.8)),
        case("two classes, many of equal probability", *synthetic(random, 60, 2, 0.5, decimals=1)),
        case("four classes", *synthetic(random, 70, 4, 0.7)),
    ]
    labels, probabilities = synthetic(random, 40, 3, 0.7)
    # The last class has no examples and is seldom predicted.
    labels %= 2
    probabilities[:, 2] *= 0.01
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    cases.append(case("a class without examples", labels, probabilities))
    # The last class is not even predicted, and the first is never predicted.
    labels, probabilities = synthetic(random, 40, 4, 0.7)
    labels %= 3
    probabilities[:, [0, 3]] *= 0.001
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    cases.append(case("a class without examples and predictions", labels, probabilities))
    pairs = [[0, 0], [1, 0], [3, 9], [12, 12], [40, 71], [2000, 2200]]
    comparisons = [[*pair, binomtest(pair[0], sum(pair)).pvalue if sum(pair) else 1.0] for pair in pairs]
    text = json.dumps({"cases": cases, "comparisons": comparisons})
    pathlib.Path(__file__).with_name("expected.json").write_text(text + "\n")


if __name__ == "__main__":
    warnings.simplefilter("error")
    main()
