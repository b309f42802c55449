"""Convert a model exported by `lstmtext export` to ONNX.

    python scripts/export_onnx.py DIR FILE.onnx

Inputs: `ids` [batch, tokens] and `lengths` [batch], the number of ids without padding; a model with
several inputs has `NAME_ids` and `NAME_lengths` for each. With `pad` "back", any number of tokens is
accepted, and ids beyond a text's length are ignored. A model with n-grams has `ngrams` [batch, rows],
the rows of the n-grams of each text (torch_model.ngram_rows), padded with the number of all rows; without
an LSTM it has no other input. With "front", every row has max_length ids,
padded in front with the pad id. Outputs: `logits` ([batch, 1] for a sigmoid over two labels that exclude
each other, otherwise [batch, labels]) and `probabilities` [batch, labels]. The metadata entry `lstmtext`
holds model.json.
"""

import argparse
import os
import sys
import tempfile
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
try:
    import onnx
    import torch

    import torch_model
except ModuleNotFoundError as error:
    sys.exit(f"{error}; `make setup` installs what this script needs in .venv")


def export(model: torch_model.Classifier, file: Path) -> None:
    texts, names, axes = [], [], {}
    for spec in model.settings["inputs"]:
        prefix = f"{spec['name']}_" if spec["name"] else ""
        if spec["lstm"]:
            ids, lengths = f"{prefix}ids", f"{prefix}lengths"
            texts += [torch.full((1, 2), spec["ids"]["oov"]), torch.tensor([2])]
            names += [ids, lengths]
            axes |= {ids: {0: "batch", 1: f"{prefix}tokens"}, lengths: {0: "batch"}}
        if spec["ngrams"]:
            texts.append(torch.zeros((1, 2), dtype=torch.int64))
            names.append(f"{prefix}ngrams")
            axes[f"{prefix}ngrams"] = {0: "batch", 1: f"{prefix}rows"}
    outputs = ["logits", "probabilities"]
    axes |= {name: {0: "batch"} for name in outputs}
    with warnings.catch_warnings():
        # The newer exporter fixes the number of tokens of an LSTM.
        warnings.filterwarnings("ignore", "You are using the legacy", DeprecationWarning)
        # The warning does not apply: the module creates initial states for any batch size.
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
    """Store model.json in the ONNX file, which makes it self-contained."""
    model = onnx.load(file)
    onnx.helper.set_model_props(model, {"lstmtext": description})
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, file)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Convert a model exported by `lstmtext export` to ONNX."
    )
    parser.add_argument("directory", type=Path, help="directory written by lstmtext export")
    parser.add_argument("file", type=Path, help="ONNX file to write")
    arguments = parser.parse_args()
    if not (arguments.directory / "model.json").is_file():
        parser.error(f'"{arguments.directory}" contains no model.json: run lstmtext export first')
    file = arguments.file.resolve()
    if not file.parent.is_dir():
        parser.error(f'the directory "{file.parent}" does not exist')
    # In the same directory, so that the file can be moved into place atomically.
    with tempfile.TemporaryDirectory(dir=file.parent) as temporary:
        new = Path(temporary) / "model.onnx"
        export(torch_model.load(arguments.directory), new)
        describe(new, (arguments.directory / "model.json").read_text(encoding="utf-8"))
        os.replace(new, file)
    print(arguments.file)


if __name__ == "__main__":
    main()
