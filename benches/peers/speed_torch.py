"""Trains a network in PyTorch, an epoch for each line of standard input, for speed.py."""

import random
import statistics
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence
from torch.utils.data import DataLoader, Dataset

import reviews
from speed_worker import SYSTEMS, System, load, parser, serve, timed

Batch = tuple[Tensor, Tensor, Tensor]  # ids [B, T] filled up at the end, lengths [B], classes [B]

WINDOW = 50  # batches whose reviews are sorted by length together
TRIAL_WARM_UP, TRIAL = 2, 5  # steps


class Reviews(Dataset):
    """The reviews one by one."""

    def __init__(self, texts: list[list[int]], labels: Tensor) -> None:
        self.texts = [torch.tensor(ids) for ids in texts]
        self.labels = labels

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.texts[index], self.labels[index]


def collate(examples: list[tuple[Tensor, Tensor]]) -> Batch:
    """Makes a batch of reviews."""
    texts, labels = zip(*examples)
    lengths = torch.tensor([len(text) for text in texts])
    ids = pad_sequence(texts, batch_first=True, padding_value=reviews.PAD)
    return ids, lengths, torch.stack(labels)


class Buckets:
    """Batches of reviews of like length, in a new order each time."""

    def __init__(self, texts: list[list[int]], labels: Tensor, size: int) -> None:
        rows = [torch.tensor(ids) for ids in texts]
        self.ids = pad_sequence(rows, batch_first=True, padding_value=reviews.PAD)
        self.lengths = torch.tensor([len(ids) for ids in texts])
        self.labels = labels
        self.size = size

    def __iter__(self) -> Iterator[Batch]:
        for window in torch.randperm(len(self.labels)).split(WINDOW * self.size):
            window = window[self.lengths[window].argsort()]
            batches = list(window.split(self.size))
            random.shuffle(batches)
            for chosen in batches:
                lengths = self.lengths[chosen]
                yield self.ids[chosen, : int(lengths.max())], lengths, self.labels[chosen]


class Tutorial(nn.Module):
    """The network as tutorials write it, with packed sequences."""

    def __init__(self, system: System) -> None:
        super().__init__()
        self.mean = system.mean
        self.embedding = nn.Embedding(system.words, system.embedding, padding_idx=reviews.PAD)
        self.word_dropout = system.word_dropout
        self.lstm = nn.LSTM(
            system.embedding, system.units, batch_first=True, bidirectional=system.bidirectional
        )
        self.dropout = nn.Dropout(system.dropout)
        self.head = nn.Linear(system.units * (1 + system.bidirectional), system.classes)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        embedded = drop_words(self.embedding(ids), self.word_dropout)
        packed = pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
        states, (last, _) = self.lstm(packed)
        if self.mean:
            padded, _ = pad_packed_sequence(states, batch_first=True)  # zeros behind each text
            pooled = padded.sum(1) / lengths[:, None]
        else:
            pooled = last[-1]
        return self.head(self.dropout(pooled))


class Best(nn.Module):
    """The same network without packing: an LSTM that reads on into the padding, unharmed."""

    def __init__(self, system: System, sparse: bool) -> None:
        super().__init__()
        self.mean = system.mean
        self.embedding = nn.Embedding(system.words, system.embedding, sparse=sparse)
        self.word_dropout = system.word_dropout
        directions = 1 + system.bidirectional
        self.lstms = nn.ModuleList(
            nn.LSTM(system.embedding, system.units, batch_first=True) for _ in range(directions)
        )
        self.dropout = nn.Dropout(system.dropout)
        self.head = nn.Linear(system.units * directions, system.classes)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        embedded = drop_words(self.embedding(ids), self.word_dropout)
        pooled = [self.pool(self.lstms[0](embedded)[0], lengths)]
        if len(self.lstms) > 1:  # the mean does not care in which order the states are
            backwards = turn(embedded, lengths)
            pooled.append(self.pool(self.lstms[1](backwards)[0], lengths))
        return self.head(self.dropout(torch.cat(pooled, 1)))

    def pool(self, states: Tensor, lengths: Tensor) -> Tensor:
        """The mean of the states [B, T, H] over each text, or the last state of it."""
        if not self.mean:
            return states[torch.arange(len(lengths)), lengths - 1]
        real = torch.arange(states.shape[1]) < lengths[:, None]
        return torch.bmm((real / lengths[:, None])[:, None], states)[:, 0]


def drop_words(embedded: Tensor, rate: float) -> Tensor:
    """Dropout on whole words of [B, T, E]."""
    if not rate:
        return embedded
    return embedded * nn.functional.dropout(torch.ones(*embedded.shape[:2], 1), rate)


def turn(embedded: Tensor, lengths: Tensor) -> Tensor:
    """Each text of [B, T, E] backwards; what is behind it stays."""
    place = torch.arange(embedded.shape[1])
    source = torch.where(place < lengths[:, None], lengths[:, None] - 1 - place, place)
    return embedded.gather(1, source[:, :, None].expand_as(embedded))


def loss_of(system: System) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of logits [B, classes] and classes [B]."""
    if system.classes > 1:
        return nn.functional.cross_entropy
    return lambda logits, labels: nn.functional.binary_cross_entropy_with_logits(
        logits[:, 0], labels.float()
    )


def optimizers(network: nn.Module, system: System, best: bool) -> list[torch.optim.Optimizer]:
    """The optimizer; a second one for an embedding with sparse gradients."""
    if system.optimizer == "adadelta":
        rate = system.learning_rate
        return [torch.optim.Adadelta(network.parameters(), lr=rate, rho=0.95, eps=1e-6)]
    if not best:
        return [torch.optim.Adam(network.parameters(), lr=system.learning_rate)]
    table = network.embedding
    if not table.sparse:
        return [torch.optim.Adam(network.parameters(), lr=system.learning_rate, fused=True)]
    others = [weight for weight in network.parameters() if weight is not table.weight]
    return [
        torch.optim.Adam(others, lr=system.learning_rate, fused=True),
        torch.optim.SparseAdam([table.weight], lr=system.learning_rate),
    ]


def clip(network: nn.Module, limit: float) -> None:
    """Scales all gradients down to a norm of `limit`, sparse ones too."""
    gradients = []
    for weight in network.parameters():
        if weight.grad is not None and weight.grad.is_sparse:
            weight.grad = weight.grad.coalesce()
            gradients.append(weight.grad.values())
        elif weight.grad is not None:
            gradients.append(weight.grad)
    factor = limit / (nn.utils.get_total_norm(gradients) + 1e-6)
    torch._foreach_mul_(gradients, factor.clamp(max=1.0))


class Trainer:
    """A network with its optimizer."""

    def __init__(self, system: System, best: bool, sparse: bool = False) -> None:
        self.network = Best(system, sparse) if best else Tutorial(system)
        self.optimizers = optimizers(self.network, system, best)
        self.loss = loss_of(system)
        self.limit = system.clip

    def step(self, batch: Batch) -> float:
        """Trains on a batch; its loss."""
        ids, lengths, labels = batch
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss = self.loss(self.network(ids, lengths), labels)
        loss.backward()
        if self.limit is not None:
            clip(self.network, self.limit)
        for optimizer in self.optimizers:
            optimizer.step()
        return loss.item()

    def epoch(self, batches: Iterable[Batch]) -> float:
        """Trains on all batches; the mean loss of the reviews."""
        total, seen = 0.0, 0
        for batch in batches:
            total += self.step(batch) * len(batch[2])
            seen += len(batch[2])
        return total / seen


def try_sparse(system: System, batches: Buckets) -> dict[str, float]:
    """Milliseconds of a step with dense and with sparse gradients of the embedding."""
    tried = [batch for batch, _ in zip(batches, range(TRIAL_WARM_UP + TRIAL))]
    trainers = {name: Trainer(system, True, name == "sparse") for name in ("dense", "sparse")}
    seconds: dict[str, list[float]] = {name: [] for name in trainers}
    for batch in tried:  # turn by turn
        for name, trainer in trainers.items():
            seconds[name].append(timed(lambda: trainer.step(batch))[0])
    return {
        name: round(1000 * statistics.median(steps[TRIAL_WARM_UP:] or steps), 2)
        for name, steps in seconds.items()
    }


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--best", action="store_true", help="the fastest form, not tutorials'")
    chosen = arguments.parse_args()
    torch.set_num_threads(chosen.threads)
    torch.set_flush_denormal(chosen.best)  # before there are threads, which take it over

    system = SYSTEMS[chosen.system]
    texts, numbers = load(chosen.folder, system)
    labels = torch.from_numpy(numbers)
    torch.manual_seed(1)
    random.seed(1)
    ready: dict[str, object] = {"tokens": sum(map(len, texts))}
    ready["versions"] = {"torch": torch.__version__}
    batches: Iterable[Batch]
    sparse = False
    if chosen.best:
        batches = Buckets(texts, labels, system.batch)
        if system.optimizer == "adam":
            trial = try_sparse(system, batches)
            sparse = trial["sparse"] < trial["dense"]
            ready["trial_milliseconds"] = trial
        ready["embedding_gradients"] = "sparse" if sparse else "dense"
    else:
        batches = DataLoader(
            Reviews(texts, labels), batch_size=system.batch, shuffle=True, collate_fn=collate
        )
    trainer = Trainer(system, chosen.best, sparse)
    ready["parameters"] = sum(weight.numel() for weight in trainer.network.parameters())
    serve(ready, lambda: timed(lambda: trainer.epoch(batches)))


if __name__ == "__main__":
    main()
