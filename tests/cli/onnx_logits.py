"""Compute the logits of texts from an ONNX file with ONNX Runtime, all in one batch.

    python onnx_logits.py FILE.onnx EXAMPLES

EXAMPLES is a JSON list with a list for each example: the text of each input. Reads only the ONNX
file: splits the texts at spaces, and encodes the words with the vocabulary in its metadata. Prints
logits and probabilities as JSON.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import torch_model


def batch(texts, spec):
    vocabulary = {word: id for id, word in enumerate(spec["vocabulary"])}
    ids = [[vocabulary.get(word, spec["ids"]["oov"]) for word in text.split()] for text in texts]
    front = spec["pad"] == "front"
    steps = spec["max_length"] if front else max(map(len, ids))
    padded = np.full((len(ids), steps), spec["ids"]["pad"])
    for row, words in zip(padded, ids):
        row[steps - len(words) if front else 0 :][: len(words)] = words
    return padded, np.array([len(words) for words in ids])


def main(file, examples):
    session = onnxruntime.InferenceSession(file)
    model = json.loads(session.get_modelmeta().custom_metadata_map["lstmtext"])
    feed = {}
    for spec, texts in zip(model["inputs"], zip(*examples)):
        prefix = f"{spec['name']}_" if spec["name"] else ""
        if spec["lstm"]:
            feed[f"{prefix}ids"], feed[f"{prefix}lengths"] = batch(texts, spec)
        if ngrams := spec["ngrams"]:
            padding = ngrams["buckets"] or len(ngrams["hashes"]) // 16
            rows = [torch_model.ngram_rows(text.split(), ngrams) for text in texts]
            longest = max(map(len, rows))
            padded = [each + [padding] * (longest - len(each)) for each in rows]
            feed[f"{prefix}ngrams"] = np.array(padded, dtype=np.int64).reshape(len(rows), longest)
    logits, probabilities = session.run(["logits", "probabilities"], feed)
    found = {"logits": logits.tolist(), "probabilities": probabilities.tolist()}
    print(json.dumps(found | {"labels": model["labels"]}))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
