"""Finds label issues with cleanlab, for the test of label_issues.rs.

pip install cleanlab==2.9.0 && python3 make_label_issues.py > label_issues.json
"""

import json

import numpy as np
from cleanlab.filter import find_label_issues


def example(seed, count, classes, sharpness, flipped):
    random = np.random.default_rng(seed)
    true = random.integers(0, classes, count)
    # Some classes are harder than others.
    logits = random.normal(size=(count, classes))
    logits[np.arange(count), true] += sharpness * (1 + true)
    probabilities = np.exp(logits)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    probabilities = probabilities.round(3)
    labels = np.where(
        random.random(count) < flipped, (true + random.integers(1, classes, count)) % classes, true
    )
    issues = find_label_issues(labels, probabilities, return_indices_ranked_by="self_confidence")
    # Equal ones in the order of the examples.
    issues = np.array(sorted(issues, key=lambda i: (probabilities[i, labels[i]], i)))
    return {
        "classes": classes,
        "labels": labels.tolist(),
        "probabilities": probabilities.flatten().tolist(),
        "issues": issues.tolist(),
    }


print(json.dumps([example(1, 80, 2, 1.0, 0.1), example(2, 120, 3, 0.8, 0.15), example(3, 90, 4, 0.3, 0.3)]))
