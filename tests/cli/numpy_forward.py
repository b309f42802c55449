"""Compute a class probability from a checkpoint with NumPy.

    python numpy_forward.py CHECKPOINT TEXT mean|last|attention [STEPS]

Reads only the files of the checkpoint, as a program in another language would. Splits the text at
spaces, pads it in front to STEPS if given, and computes the embedding, one LSTM layer (gates i, f,
g, o), the mean of all hidden states, the last one or their mean weighted by attention, one logit,
and its sigmoid. Prints the
probability of the second label as JSON.
"""

import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

PAD, OOV = 0, 2


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def hidden_states(inputs, weights):
    bias = weights["lstm.bias_ih_l0"] + weights["lstm.bias_hh_l0"]
    hidden = cell = np.zeros(weights["lstm.weight_hh_l0"].shape[1])
    for vector in inputs:
        gates = weights["lstm.weight_ih_l0"] @ vector + weights["lstm.weight_hh_l0"] @ hidden + bias
        i, f, g, o = np.split(gates, 4)
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
        hidden = sigmoid(o) * np.tanh(cell)
        yield hidden


def pool(states, pooling, weights):
    if pooling == "attention":
        attention = np.exp(states @ weights["attention.query"])
        return attention / attention.sum() @ states
    return states.mean(axis=0) if pooling == "mean" else states[-1]


def main(checkpoint, text, pooling, steps=0):
    weights = load_file(checkpoint / "model.safetensors")
    assert all(tensor.dtype == np.float32 for tensor in weights.values())
    weights = {name: tensor.astype(np.float64) for name, tensor in weights.items()}
    words = json.loads((checkpoint / "vocabulary.json").read_text())
    labels = json.loads((checkpoint / "checkpoint.json").read_text())["labels"]
    ids = [words.index(word) if word in words else OOV for word in text.split()]
    ids = [PAD] * (steps - len(ids)) + ids
    states = list(hidden_states(weights["embedding.weight"][ids], weights))
    pooled = pool(np.array(states), pooling, weights)
    logit = weights["head.weight"] @ pooled + weights["head.bias"]
    print(json.dumps({labels[1]: float(sigmoid(logit)[0])}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], *map(int, sys.argv[4:]))
