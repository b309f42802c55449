"""A model exported by `lstmtext export`, as a PyTorch module.

It processes batches of texts of different lengths; ids beyond a text's length are ignored. Letters in
shapes: B batch, T tokens, E embedding, H units of one direction.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn


class Branch(nn.Module):
    """The layers of one input: embedding, LSTM layers, pooling."""

    def __init__(self, settings: dict):
        super().__init__()
        pooling = settings["pooling"]
        self.poolings = [pooling] if isinstance(pooling, str) else pooling
        self.padded_in_front = settings["pad"] == "front"
        size, lstm = settings["embedding"]["size"], settings["lstm"]
        units, directions = lstm["units"], 2 if lstm["bidirectional"] else 1
        self.embedding = nn.Embedding(len(settings["vocabulary"]), size)
        # A separate LSTM for each direction: the backward half of a bidirectional LSTM would start
        # in the padding.
        self.lstm = nn.ModuleList()
        for layer in range(lstm["layers"]):
            inputs = size if layer == 0 else directions * units
            cells = [nn.LSTM(inputs, units, batch_first=True) for _ in range(directions)]
            self.lstm.append(nn.ModuleList(cells))
        if "attention" in self.poolings:
            self.query = nn.Parameter(torch.zeros(directions * units))
        self.features = len(self.poolings) * directions * units

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Map ids [B, T] and lengths without padding [B] to features [B, poolings directions H]."""
        length = lengths.unsqueeze(1)  # [B, 1]
        position = torch.arange(ids.shape[1], device=ids.device).unsqueeze(0)  # [1, T]
        if self.padded_in_front:
            # The LSTM reads the padding too, like Keras without masking.
            is_word = position >= ids.shape[1] - length  # [B, T]
            backwards = (ids.shape[1] - 1 - position).expand_as(ids)
        else:
            is_word = position < length
            backwards = torch.where(is_word, length - 1 - position, position)
        states = self.embedding(ids)  # [B, T, E]
        for cells in self.lstm:
            outputs = [run(cells[0], states)]
            for cell in cells[1:]:
                reversed_states = run(cell, select(states, backwards))
                outputs.append(select(reversed_states, backwards))
            states = torch.cat(outputs, 2)  # [B, T, directions H]
        pooled = [self.pool(pooling, states, is_word, length) for pooling in self.poolings]
        return torch.cat(pooled, 1)

    def pool(self, pooling: str, states: Tensor, is_word: Tensor, length: Tensor) -> Tensor:
        if pooling == "mean":
            return (states * is_word.unsqueeze(2)).sum(1) / length
        if pooling == "max":
            return states.masked_fill(~is_word.unsqueeze(2), float("-inf")).amax(1)
        if pooling == "attention":
            scores = (states @ self.query).masked_fill(~is_word, float("-inf"))  # [B, T]
            return (scores.softmax(1).unsqueeze(2) * states).sum(1)
        units = self.lstm[0][0].hidden_size
        last = torch.full_like(length, states.shape[1] - 1) if self.padded_in_front else length - 1
        # The state at the last word forwards, the state at the first word backwards.
        return torch.cat([select(states, last)[:, 0, :units], states[:, 0, units:]], 1)


def run(cell: nn.LSTM, inputs: Tensor) -> Tensor:
    """Return the hidden states [B, T, H] for the inputs [B, T, inputs]."""
    return cell(inputs)[0]


def select(states: Tensor, positions: Tensor) -> Tensor:
    """Return the states [B, T, H] at `positions` [B, N]: [B, N, H]."""
    return states.gather(1, positions.unsqueeze(2).expand(-1, -1, states.shape[2]))


class Ngrams(nn.Module):
    """The linear branch over the n-grams of one input."""

    def __init__(self, logits: int):
        super().__init__()
        # A row for each n-gram, and a last row of zeros, with which shorter lists are padded.
        self.table = nn.Parameter(torch.zeros(1, logits))

    def forward(self, rows: Tensor) -> Tensor:
        """Map the rows of the n-grams of each text (ngrams.ngram_rows), [B, N], to logits [B, logits]."""
        return nn.functional.embedding(rows, self.table).sum(1)


class Bias(nn.Module):
    """The head of a model without an LSTM."""

    def __init__(self, logits: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(logits))


class Classifier(nn.Module):
    """The whole network; `settings` is the content of model.json."""

    def __init__(self, settings: dict):
        super().__init__()
        self.settings = settings
        has_one_logit = settings["activation"] == "sigmoid" and not settings.get("multi_label")
        logits = 1 if has_one_logit else len(settings["labels"])
        self.branches, self.ngrams = nn.ModuleDict(), nn.ModuleDict()
        for number, spec in enumerate(settings["inputs"]):
            if spec["lstm"]:
                self.branches[str(number)] = Branch(spec)
            if spec["ngrams"]:
                self.ngrams[str(number)] = Ngrams(logits)
        features = sum(branch.features for branch in self.branches.values())
        self.head = nn.Linear(features, logits) if features else Bias(logits)

    def forward(self, *texts: Tensor) -> tuple[Tensor, Tensor]:
        """Map the tensors of each input in turn to logits and calibrated probabilities [B, labels].

        They are ids [B, T] and lengths [B] if it has an LSTM, then the rows of its n-grams [B, N].
        """
        texts, features, linear = list(texts), [], 0
        for number in range(len(self.settings["inputs"])):
            if str(number) in self.branches:
                features.append(self.branches[str(number)](texts.pop(0), texts.pop(0)))
            if str(number) in self.ngrams:
                linear = linear + self.ngrams[str(number)](texts.pop(0))
        logits = (self.head(torch.cat(features, 1)) if features else self.head.bias) + linear
        return logits, self.probabilities(self.scaled(logits))

    def scaled(self, logits: Tensor) -> Tensor:
        """Apply the scaling of a calibrated model to logits."""
        scaling = self.settings.get("calibration", {}).get("scaling", {})
        if "temperature" in scaling:
            return logits / scaling["temperature"]
        if "log_odds" in scaling:
            lines = [[line["slope"], line["offset"]] for line in scaling["log_odds"]]
            slope, offset = torch.tensor(lines, device=logits.device).unbind(1)
            return slope * logits + offset
        return logits

    def probabilities(self, logits: Tensor) -> Tensor:
        """Map logits to the probability of each label, [B, labels]."""
        if self.settings["activation"] == "softmax":
            return logits.softmax(1)
        if self.settings.get("multi_label"):
            return logits.sigmoid()
        return torch.cat([-logits, logits], 1).sigmoid()


def load(directory: Path) -> Classifier:
    """Load the network with its trained weights."""
    settings = json.loads((directory / "model.json").read_text(encoding="utf-8"))
    model = Classifier(settings)
    weights = load_file(directory / "model.safetensors")
    for number, branch in model.ngrams.items():
        prefix = settings["inputs"][int(number)]["prefix"]
        table = weights[f"{prefix}ngrams.weight"] * weights.get(f"{prefix}ngrams.value", 1)
        weights[f"{prefix}ngrams.table"] = torch.cat([table, torch.zeros(1, table.shape[1])])
        branch.table = nn.Parameter(weights[f"{prefix}ngrams.table"])
    model.load_state_dict({parameter: weights[name] for parameter, name in names(settings)})
    return model.eval()


def names(settings: dict):
    """Yield the name of every parameter in the module and in model.safetensors."""
    yield "head.bias", "head.bias"
    if any(spec["lstm"] for spec in settings["inputs"]):
        yield "head.weight", "head.weight"
    for number, spec in enumerate(settings["inputs"]):
        branch, prefix = f"branches.{number}.", spec["prefix"]
        if spec["ngrams"]:
            yield f"ngrams.{number}.table", f"{prefix}ngrams.table"
        if not spec["lstm"]:
            continue
        yield f"{branch}embedding.weight", f"{prefix}embedding.weight"
        if "attention" in spec["pooling"]:
            yield f"{branch}query", f"{prefix}attention.query"
        for layer in range(spec["lstm"]["layers"]):
            for direction in range(2 if spec["lstm"]["bidirectional"] else 1):
                suffix = "_reverse" if direction else ""
                for kind in ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]:
                    yield (
                        f"{branch}lstm.{layer}.{direction}.{kind}_l0",
                        f"{prefix}lstm.{kind}_l{layer}{suffix}",
                    )
