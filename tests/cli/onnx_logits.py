"""Compute the logits of texts from an ONNX file with ONNX Runtime, all in one batch.

    python onnx_logits.py FILE.onnx EXAMPLES

EXAMPLES is a JSON list with a list for each example: the text of each input. Reads only the ONNX
file, which it checks: splits the texts at spaces, and encodes the words with the vocabulary in its
metadata. Prints logits, probabilities and the metadata entry as JSON.
"""

import json
import sys
from pathlib import Path

import onnx
import onnxruntime

sys.path.insert(0, str(Path(__file__).resolve().parent))
import model_inputs


def main(file, examples):
    onnx.checker.check_model(file, full_check=True)
    session = onnxruntime.InferenceSession(file)
    model = json.loads(session.get_modelmeta().custom_metadata_map["lstmtext"])
    feed = model_inputs.tensors(model, examples)
    assert list(feed) == [each.name for each in session.get_inputs()]
    logits, probabilities = session.run(["logits", "probabilities"], feed)
    shapes = {each.name: each.shape for each in session.get_outputs()}
    assert shapes == {
        "logits": ["batch", logits.shape[1]],
        "probabilities": ["batch", len(model["labels"])],
    }
    found = {"logits": logits.tolist(), "probabilities": probabilities.tolist()}
    print(json.dumps(found | {"description": model}))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
