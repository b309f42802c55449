"""Write label_sets.json: the scores of synthetic predictions of several labels, computed by scikit-learn.

The file was made with Python 3.11, scikit-learn 1.9.1 and NumPy 2. lstmtext is not used.
"""

import json
import pathlib
import warnings

import numpy as np
from sklearn import metrics

from make_expected import calibration_error

SEED = 20261129


def precision_at(labels, probabilities, k):
    """Of equally probable labels, the first ones count."""
    top = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(labels, top, axis=1).sum(axis=1).mean() / k


def ranking(metric, labels, probabilities):
    """Returns the metric of each label, or None for one that has all examples or none."""
    return [
        metric(truth, scores) if 0 < truth.sum() < len(truth) else None
        for truth, scores in zip(labels.T, probabilities.T)
    ]


def case(name, labels, probabilities):
    classes = labels.shape[1]
    predicted = (probabilities >= 0.5).astype(int)

    def averaged(average):
        scores = metrics.precision_recall_fscore_support(
            labels, predicted, average=average, zero_division=0
        )
        return [float(score) for score in scores[:3]]

    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        labels, predicted, average=None, zero_division=0
    )
    roc_auc = ranking(metrics.roc_auc_score, labels, probabilities)
    average_precision = ranking(metrics.average_precision_score, labels, probabilities)
    return {
        "name": name,
        "labels": [np.flatnonzero(row).tolist() for row in labels],
        "probabilities": probabilities.tolist(),
        "expected": {
            "accuracy": metrics.accuracy_score(labels, predicted),
            # Each entry of the flattened arrays is an example of its own.
            "loss": metrics.log_loss(labels.ravel(), probabilities.ravel(), labels=[0, 1]),
            # Of all pairs of an example and a label.
            "expected_calibration_error": calibration_error(labels.ravel(), probabilities.ravel()),
            "macro_average": averaged("macro"),
            "micro_average": averaged("micro"),
            "weighted_average": averaged("weighted"),
            "samples_average": averaged("samples"),
            "hamming_loss": metrics.hamming_loss(labels, predicted),
            "label_ranking_average_precision": metrics.label_ranking_average_precision_score(
                labels, probabilities
            ),
            "precision_at": {
                k: precision_at(labels, probabilities, k) for k in (1, 3, 5) if k <= classes
            },
            "classes": np.stack([precision, recall, f1, support], axis=1).tolist(),
            "roc_auc": roc_auc,
            "average_precision": average_precision,
            # [[true negatives, false positives], [false negatives, true positives]]
            "counts": metrics.multilabel_confusion_matrix(labels, predicted).tolist(),
        },
    }


def synthetic(random, examples, classes, share, sharpness, decimals=None):
    """Returns labels, and probabilities that favor them."""
    labels = (random.random((examples, classes)) < share).astype(int)
    logits = random.normal(size=(examples, classes)) + sharpness * (labels - share)
    probabilities = 1 / (1 + np.exp(-2 * logits))
    if decimals is not None:  # Creates ties.
        probabilities = np.clip(np.round(probabilities, decimals), 0.1, 0.9)
    return labels, probabilities


def main():
    random = np.random.default_rng(SEED)
    cases = [
        case("two labels", *synthetic(random, 50, 2, 0.4, 1.5)),
        case("six labels", *synthetic(random, 60, 6, 0.3, 1.5)),
        case("many of equal probability", *synthetic(random, 50, 5, 0.4, 1.0, decimals=1)),
    ]
    labels, probabilities = synthetic(random, 40, 4, 0.4, 1.5)
    # The second label has no examples, the last one has all and is never predicted.
    labels[:, 1], labels[:, 3] = 0, 1
    probabilities[:, 3] *= 0.4
    # No labels, all labels, and nothing predicted.
    labels[0], labels[1] = 0, [1, 1, 1, 1]
    labels[2], probabilities[2] = 0, 0.1
    labels[:, 1] = 0
    cases.append(case("labels without examples, examples without labels", labels, probabilities))
    text = json.dumps({"cases": cases})
    pathlib.Path(__file__).with_name("label_sets.json").write_text(text + "\n")


if __name__ == "__main__":
    warnings.simplefilter("error")
    main()
