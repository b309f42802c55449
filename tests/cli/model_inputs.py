"""The input tensors of an exported model for a batch of texts."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
from ngrams import ngram_rows, padding_row


def tensors(model, examples):
    """Return the tensors by name, in the order of the model's inputs.

    `model` is the content of model.json, `examples` a list with a list for each example: the text of each
    input. The texts are split at spaces.
    """
    found = {}
    for spec, texts in zip(model["inputs"], zip(*examples)):
        prefix = f"{spec['name']}_" if spec["name"] else ""
        words = [text.split() for text in texts]
        if spec["lstm"]:
            found[f"{prefix}ids"], found[f"{prefix}lengths"] = ids(words, spec)
        if settings := spec["ngrams"]:
            rows = [ngram_rows(each, settings) for each in words]
            table = np.full((len(rows), max(map(len, rows))), padding_row(settings))
            for row, each in zip(table, rows):
                row[: len(each)] = each
            found[f"{prefix}ngrams"] = table
    return found


def ids(texts, spec):
    vocabulary = {word: id for id, word in enumerate(spec["vocabulary"])}
    ids = [[vocabulary.get(word, spec["ids"]["oov"]) for word in words] for words in texts]
    lengths = np.array([len(words) for words in ids])
    if spec["pad"] == "front":
        padded = np.full((len(ids), spec["max_length"]), spec["ids"]["pad"])
        for row, words in zip(padded, ids):
            row[len(row) - len(words) :] = words
    else:
        # Ids beyond the length of a text are ignored, whatever they are.
        padded = np.random.default_rng(0).integers(len(vocabulary), size=(len(ids), max(lengths) + 3))
        for row, words in zip(padded, ids):
            row[: len(words)] = words
    return padded, lengths
