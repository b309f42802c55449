"""Train the Theano tutorial's LSTM on the IMDB reviews in PyTorch and print its scores as JSON."""

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import reviews

WORDS = 10_000
UNITS = 128
LONGEST = 100  # training and validation texts with more tokens are excluded
BATCH, VALIDATION_BATCH = 16, 64
EPOCHS = 100
VALIDATE_EVERY = 370  # updates
PATIENCE = 10  # validations without an improvement


@dataclass(frozen=True)
class Examples:
    """Texts as ids, with their classes."""

    texts: list[Tensor]
    labels: Tensor

    def batches(self, order: list[int], size: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Return ids [B, T] padded at the end, lengths [B] and classes [B]."""
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            texts = [self.texts[i] for i in chosen]
            lengths = torch.tensor([len(text) for text in texts])
            yield nn.utils.rnn.pad_sequence(texts, batch_first=True), lengths, self.labels[chosen]


class Network(nn.Module):
    """Embedding, LSTM, mean over the words, dropout, softmax; initial weights as in Keras."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, UNITS)
        self.lstm = nn.LSTM(UNITS, UNITS, batch_first=True)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(UNITS, 2)
        nn.init.uniform_(self.embedding.weight, -0.05, 0.05)
        nn.init.xavier_uniform_(self.lstm.weight_ih_l0)
        nn.init.orthogonal_(self.lstm.weight_hh_l0)
        nn.init.zeros_(self.lstm.bias_ih_l0)
        nn.init.ones_(self.lstm.bias_ih_l0.data[UNITS : 2 * UNITS])  # the forget gate
        nn.init.zeros_(self.lstm.bias_hh_l0).requires_grad_(False)
        nn.init.xavier_uniform_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        states, _ = self.lstm(self.embedding(ids))  # [B, T, H]
        real = torch.arange(ids.shape[1]) < lengths[:, None]  # [B, T]
        mean = (states * real[:, :, None]).sum(1) / lengths[:, None]
        return self.head(self.dropout(mean))


def load(folder: Path, limit: int | None) -> dict[str, Examples]:
    """Return the encoded examples of every split. Words are counted in all training texts, even long ones."""
    tokens, labels = {}, {}
    for part in ("train", "validation", "test"):
        texts, labels[part] = reviews.read(folder, part)
        tokens[part] = [reviews.word_tokens(text) for text in texts]
    tokens["train"] = tokens["train"][:limit]
    vocabulary = reviews.build_vocabulary(tokens["train"], WORDS)
    data = {}
    for part, split in tokens.items():
        kept = [i for i, text in enumerate(split) if part == "test" or len(text) <= LONGEST]
        ids = [torch.tensor(reviews.encode(split[i], vocabulary, start=False)) for i in kept]
        data[part] = Examples(ids, torch.from_numpy(labels[part][kept]))
        print(f"{part}: {len(kept)} of {len(split)} texts", file=sys.stderr)
    return data


@torch.no_grad()
def score(network: Network, examples: Examples) -> tuple[float, float]:
    """Return the mean loss and accuracy."""
    network.eval()
    by_length = sorted(range(len(examples.texts)), key=lambda i: len(examples.texts[i]))
    loss, hits = 0.0, 0
    for ids, lengths, labels in examples.batches(by_length, VALIDATION_BATCH):
        logits = network(ids, lengths)
        loss += nn.functional.cross_entropy(logits, labels, reduction="sum").item()
        hits += int((logits.argmax(1) == labels).sum())
    network.train()
    return loss / len(by_length), hits / len(by_length)


def train(network: Network, data: dict[str, Examples]) -> tuple[float, float, list[float]]:
    """Train, and restore the best weights.

    Returns the best validation accuracy, the number of epochs, and the seconds of each whole epoch,
    without validation.
    """
    trainable = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adadelta(trainable, lr=1.0, rho=0.95, eps=1e-6)
    examples = data["train"]
    per_epoch = -(-len(examples.texts) // BATCH)
    best, best_weights, waited, updates = -1.0, {}, 0, 0
    seconds: list[float] = []
    for _ in range(EPOCHS):
        seconds.append(0.0)
        order = torch.randperm(len(examples.texts)).tolist()
        for ids, lengths, labels in examples.batches(order, BATCH):
            began = time.perf_counter()
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(ids, lengths), labels).backward()
            optimizer.step()
            updates += 1
            seconds[-1] += time.perf_counter() - began
            if updates % VALIDATE_EVERY and updates < EPOCHS * per_epoch:
                continue
            loss, accuracy = score(network, data["validation"])
            print(f"update {updates}: loss {loss:.4f}, accuracy {accuracy:.4f}", file=sys.stderr)
            waited += 1
            if accuracy > best:
                best, best_weights, waited = accuracy, copy.deepcopy(network.state_dict()), 0
            if waited == PATIENCE:
                network.load_state_dict(best_weights)
                return best, updates / per_epoch, seconds[:-1] or seconds
    network.load_state_dict(best_weights)
    return best, EPOCHS, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="directory written by lstmtext data split")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=int, help="number of texts to train on, for a quick test")
    arguments = parser.parse_args()

    torch.set_flush_denormal(True)
    data = load(arguments.folder, arguments.limit)
    torch.manual_seed(arguments.seed)
    network = Network()
    validation_accuracy, epochs, seconds = train(network, data)
    test_loss, test_accuracy = score(network, data["test"])
    result = {
        "system": "theano",
        "seed": arguments.seed,
        "validation_accuracy": round(validation_accuracy, 4),
        "test_accuracy": round(test_accuracy, 4),
        "test_loss": round(test_loss, 4),
        "epochs": round(epochs, 1),
        "seconds_per_epoch": round(statistics.median(seconds), 2),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
