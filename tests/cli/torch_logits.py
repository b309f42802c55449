"""Compute the logits of texts from an exported directory with PyTorch, all in one batch.

    python torch_logits.py DIRECTORY EXAMPLES

EXAMPLES is a JSON list with a list for each example: the text of each input, which is split at spaces.
Prints logits and probabilities as JSON.
"""

import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
import model_inputs
import torch_model  # model_inputs adds the directory of the scripts


@torch.no_grad()
def main(directory, examples):
    model = torch_model.load(Path(directory))
    tensors = model_inputs.tensors(model.settings, examples).values()
    logits, probabilities = model(*map(torch.from_numpy, tensors))
    print(json.dumps({"logits": logits.tolist(), "probabilities": probabilities.tolist()}))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
