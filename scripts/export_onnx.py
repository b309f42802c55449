"""Turns a folder that `lstmtext export` wrote into an ONNX file.

    python scripts/export_onnx.py FOLDER FILE.onnx

Inputs: `ids` [batch, tokens] and `lengths` [batch], the number of ids without padding; of several
inputs `NAME_ids` and `NAME_lengths` each. With `pad` "back" any number of tokens goes, and what
stands behind a text's length is not read; with "front" every row has max_length ids, filled with
the pad id in front. Outputs: `logits`, for a sigmoid [batch, 1], for a softmax [batch, labels], and
`probabilities` [batch, labels]. The metadata entry `lstmtext` is model.json.
"""

import argparse
import os
import sys
import tempfile
import warnings
from pathlib import Path

import onnx
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
import torch_model


def export(model: torch_model.Classifier, file: Path) -> None:
    texts, names, axes = [], [], {}
    for own in model.settings["inputs"]:
        prefix = f"{own['name']}_" if own["name"] else ""
        ids, lengths = f"{prefix}ids", f"{prefix}lengths"
        texts += [torch.full((1, 2), own["ids"]["oov"]), torch.tensor([2])]
        names += [ids, lengths]
        axes |= {ids: {0: "batch", 1: f"{prefix}tokens"}, lengths: {0: "batch"}}
    outputs = ["logits", "probabilities"]
    axes |= {name: {0: "batch"} for name in outputs}
    with warnings.catch_warnings():
        # The newer exporter takes an LSTM only for one number of tokens.
        warnings.filterwarnings("ignore", "You are using the legacy", DeprecationWarning)
        # It need not be of one size: the module makes the initial states for any.
        warnings.filterwarnings("ignore", "Exporting a model to ONNX with a batch_size")
        torch.onnx.export(
            model,
            tuple(texts),
            str(file),
            input_names=names,
            output_names=outputs,
            dynamic_axes=axes,
            dynamo=False,
        )


def describe(file: Path, description: str) -> None:
    """Puts model.json into the file, so that nothing else is needed with it."""
    model = onnx.load(file)
    onnx.helper.set_model_props(model, {"lstmtext": description})
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, file)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Turns a folder that `lstmtext export` wrote into an ONNX file."
    )
    parser.add_argument("folder", type=Path, help="what lstmtext export wrote")
    parser.add_argument("file", type=Path, help="the ONNX file to write")
    arguments = parser.parse_args()
    if not (arguments.folder / "model.json").is_file():
        parser.error(f'"{arguments.folder}" has no model.json: call lstmtext export first')
    file = arguments.file.resolve()
    if not file.parent.is_dir():
        parser.error(f'there is no folder "{file.parent}"')
    # Beside the file, so that it appears whole.
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        new = Path(folder) / "model.onnx"
        export(torch_model.load(arguments.folder), new)
        describe(new, (arguments.folder / "model.json").read_text(encoding="utf-8"))
        os.replace(new, file)
    print(arguments.file)


if __name__ == "__main__":
    main()
