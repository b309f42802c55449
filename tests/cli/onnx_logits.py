"""Computes the logits of texts from an ONNX file with ONNX Runtime, all in one batch.

    python onnx_logits.py FILE.onnx EXAMPLES

EXAMPLES is JSON, a list of the texts of each input. Reads nothing but the file: words at spaces,
numbered by the vocabulary in its metadata. Prints logits and probabilities as JSON.
"""

import json
import sys

import numpy as np
import onnxruntime


def batch(texts, own):
    numbers = {word: number for number, word in enumerate(own["vocabulary"])}
    ids = [[numbers.get(word, own["ids"]["oov"]) for word in text.split()] for text in texts]
    front = own["pad"] == "front"
    steps = own["max_length"] if front else max(map(len, ids))
    padded = np.full((len(ids), steps), own["ids"]["pad"])
    for row, words in zip(padded, ids):
        row[steps - len(words) if front else 0 :][: len(words)] = words
    return padded, np.array([len(words) for words in ids])


def main(file, examples):
    session = onnxruntime.InferenceSession(file)
    model = json.loads(session.get_modelmeta().custom_metadata_map["lstmtext"])
    feed = {}
    for own, texts in zip(model["inputs"], zip(*examples)):
        prefix = f"{own['name']}_" if own["name"] else ""
        feed[f"{prefix}ids"], feed[f"{prefix}lengths"] = batch(texts, own)
    logits, probabilities = session.run(["logits", "probabilities"], feed)
    found = {"logits": logits.tolist(), "probabilities": probabilities.tolist()}
    print(json.dumps(found | {"labels": model["labels"]}))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
