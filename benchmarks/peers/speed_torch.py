"""Train a network in PyTorch for speed.py, an epoch per line of standard input."""

import itertools
import random
import statistics
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence
from torch.utils.data import DataLoader, Dataset

import reviews
from speed_worker import SYSTEMS, System, load, parser, serve, timed

Batch = tuple[Tensor, Tensor, Tensor]  # ids [B, T] padded at the end, lengths [B], classes [B]

WINDOW = 50  # batches whose reviews are sorted by length together
TRIAL_WARM_UP, TRIAL = 2, 5  # steps
TRACED = 20  # steps


@dataclass(frozen=True)
class Form:
    """Options of training."""

    best: bool  # the fastest form instead of that of tutorials
    device: torch.device
    precision: str

    @property
    def is_half(self) -> bool:
        """Return whether the LSTM computes in fp16, the only 16-bit type that autocast supports for it."""
        return self.precision == "fp16"


class Reviews(Dataset):
    """The reviews as a data set."""

    def __init__(self, texts: list[list[int]], labels: Tensor) -> None:
        self.texts = [torch.tensor(ids) for ids in texts]
        self.labels = labels

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.texts[index], self.labels[index]


def collate(examples: list[tuple[Tensor, Tensor]]) -> Batch:
    """Collate reviews into a batch."""
    texts, labels = zip(*examples)
    lengths = torch.tensor([len(text) for text in texts])
    ids = pad_sequence(texts, batch_first=True, padding_value=reviews.PAD)
    return ids, lengths, torch.stack(labels)


class Buckets:
    """Batches of reviews of similar length, in a new order each time."""

    def __init__(
        self, texts: list[list[int]], labels: Tensor, size: int, device: torch.device
    ) -> None:
        rows = [torch.tensor(ids) for ids in texts]
        # All reviews are on the device. Their lengths are also on the host, which avoids waiting.
        self.ids = pad_sequence(rows, batch_first=True, padding_value=reviews.PAD).to(device)
        self.lengths = torch.tensor([len(ids) for ids in texts])
        self.device_lengths = self.lengths.to(device)
        self.labels = labels.to(device)
        self.size = size

    def __iter__(self) -> Iterator[Batch]:
        for window in torch.randperm(len(self.labels)).split(WINDOW * self.size):
            window = window[self.lengths[window].argsort()]
            batches = list(window.split(self.size))
            random.shuffle(batches)
            for chosen in batches:
                width = int(self.lengths[chosen].max())
                if self.ids.is_cuda:
                    chosen = chosen.pin_memory().to(self.ids.device, non_blocking=True)
                yield self.ids[chosen, :width], self.device_lengths[chosen], self.labels[chosen]


class Tutorial(nn.Module):
    """The network as in tutorials, with packed sequences."""

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
            padded, _ = pad_packed_sequence(states, batch_first=True)  # zeros after each text
            pooled = padded.sum(1) / lengths[:, None].to(padded.device)
        else:
            pooled = last[-1]
        return self.head(self.dropout(pooled))


class Best(nn.Module):
    """The same network without packing: the LSTM reads the padding, but only after each text."""

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
        if len(self.lstms) > 1:  # the mean does not depend on the order of the states
            backwards = turn(embedded, lengths)
            pooled.append(self.pool(self.lstms[1](backwards)[0], lengths))
        return self.head(self.dropout(torch.cat(pooled, 1)))

    def pool(self, states: Tensor, lengths: Tensor) -> Tensor:
        """Return the mean of the states [B, T, H] over each text, or its last state."""
        if not self.mean:
            return states[torch.arange(len(lengths), device=lengths.device), lengths - 1]
        real = torch.arange(states.shape[1], device=lengths.device) < lengths[:, None]
        return torch.bmm((real / lengths[:, None])[:, None].to(states), states)[:, 0]


def drop_words(embedded: Tensor, rate: float) -> Tensor:
    """Apply dropout to whole words of [B, T, E]."""
    if not rate:
        return embedded
    ones = torch.ones(*embedded.shape[:2], 1, device=embedded.device)
    return embedded * nn.functional.dropout(ones, rate)


def turn(embedded: Tensor, lengths: Tensor) -> Tensor:
    """Reverse each text of [B, T, E]; the padding stays in place."""
    place = torch.arange(embedded.shape[1], device=lengths.device)
    source = torch.where(place < lengths[:, None], lengths[:, None] - 1 - place, place)
    return embedded.gather(1, source[:, :, None].expand_as(embedded))


def loss_of(system: System) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss of logits [B, classes] and classes [B]."""
    if system.classes > 1:
        return nn.functional.cross_entropy
    return lambda logits, labels: nn.functional.binary_cross_entropy_with_logits(
        logits[:, 0], labels.float()
    )


def optimizers(network: nn.Module, system: System, best: bool) -> list[torch.optim.Optimizer]:
    """Return the optimizers: a second one for an embedding with sparse gradients."""
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
    """Clip the norm of all gradients to `limit`, including sparse ones."""
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

    def __init__(self, system: System, form: Form, sparse: bool = False) -> None:
        network = Best(system, sparse) if form.best else Tutorial(system)
        self.network = network.to(form.device)
        self.optimizers = optimizers(self.network, system, form.best)
        self.loss = loss_of(system)
        self.limit = system.clip
        self.form = form
        self.scaler = torch.amp.GradScaler(form.device.type, enabled=form.is_half)

    def logits(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Return the loss of a batch, in the chosen precision."""
        with torch.autocast(self.form.device.type, torch.float16, enabled=self.form.is_half):
            return self.network(ids, lengths).float()

    def step(self, batch: Batch) -> Tensor | float:
        """Train on a batch; return its loss."""
        ids, lengths, labels = batch
        if not self.form.best:
            ids, labels = ids.to(self.form.device), labels.to(self.form.device)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss = self.loss(self.logits(ids, lengths), labels)
        self.scaler.scale(loss).backward()
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        if self.limit is not None:
            clip(self.network, self.limit)
        for optimizer in self.optimizers:
            self.scaler.step(optimizer)
        self.scaler.update()
        # Tutorials print the loss, and wait for the device here.
        return loss.detach() if self.form.best else loss.item()

    def epoch(self, batches: Iterable[Batch]) -> float:
        """Train on all batches; return the mean loss of the reviews."""
        total: Tensor | float = 0.0
        seen = 0
        for batch in batches:
            total += self.step(batch) * len(batch[2])
            seen += len(batch[2])
        return float(total) / seen

    def trace(self, batches: Iterable[Batch], path: str) -> dict:
        """Write a trace of the steps of an epoch in Chrome's format."""
        with torch.profiler.profile() as profile:
            self.epoch(itertools.islice(iter(batches), TRACED))
        profile.export_chrome_trace(path)
        return {}

    def accuracy(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Return the accuracy."""
        self.network.eval()
        right, seen = 0, 0
        with torch.no_grad():
            for ids, lengths, labels in batches:
                logits = self.logits(ids.to(self.form.device), lengths)
                found = logits.argmax(1) if logits.shape[1] > 1 else (logits[:, 0] > 0).long()
                right += int((found == labels.to(self.form.device)).sum())
                seen += len(labels)
        self.network.train()
        return {"accuracy": right / seen}


def try_sparse(system: System, batches: Buckets, form: Form) -> dict[str, float]:
    """Return the milliseconds of a step with dense and with sparse embedding gradients."""
    tried = [batch for batch, _ in zip(batches, range(TRIAL_WARM_UP + TRIAL))]
    trainers = {name: Trainer(system, form, name == "sparse") for name in ("dense", "sparse")}
    seconds: dict[str, list[float]] = {name: [] for name in trainers}
    for batch in tried:  # alternating
        for name, trainer in trainers.items():
            seconds[name].append(timed(lambda: float(trainer.step(batch)))["seconds"])
    return {
        name: round(1000 * statistics.median(steps[TRIAL_WARM_UP:] or steps), 2)
        for name, steps in seconds.items()
    }


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--best", action="store_true", help="the fastest form, not that of tutorials")
    arguments.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    arguments.add_argument("--precision", choices=["fp32", "tf32", "fp16"], default="tf32")
    chosen = arguments.parse_args()
    form = Form(chosen.best, chosen.device, chosen.precision)
    torch.set_num_threads(chosen.threads)
    torch.set_flush_denormal(chosen.best)  # before threads are created, which inherit it
    torch.backends.cudnn.allow_tf32 = chosen.precision != "fp32"
    torch.backends.cuda.matmul.allow_tf32 = chosen.precision != "fp32"

    system = SYSTEMS[chosen.system]
    texts, numbers = load(chosen.folder, system, "train")
    labels = torch.from_numpy(numbers)
    held_out, held_out_numbers = load(chosen.folder, system, "validation")
    held_out_labels = torch.from_numpy(held_out_numbers)
    torch.manual_seed(1)
    random.seed(1)
    ready: dict[str, object] = {"tokens": sum(map(len, texts))}
    versions: dict[str, object] = {"torch": torch.__version__}
    ready["versions"] = versions
    if form.device.type == "cuda":
        versions |= {
            "GPU": torch.cuda.get_device_name(form.device),
            "CUDA": torch.version.cuda,
            "cuDNN": torch.backends.cudnn.version(),
        }
    batches: Iterable[Batch]
    validation: Iterable[Batch]
    sparse = False
    if form.best:
        batches = Buckets(texts, labels, system.batch, form.device)
        validation = Buckets(held_out, held_out_labels, system.batch, form.device)
        if system.optimizer == "adam":
            trial = try_sparse(system, batches, form)
            sparse = trial["sparse"] < trial["dense"]
            ready["trial_milliseconds"] = trial
        ready["embedding_gradients"] = "sparse" if sparse else "dense"
    else:
        batches, validation = (
            DataLoader(Reviews(*part), batch_size=system.batch, shuffle=True, collate_fn=collate)
            for part in ((texts, labels), (held_out, held_out_labels))
        )
    trainer = Trainer(system, form, sparse)
    ready["parameters"] = sum(weight.numel() for weight in trainer.network.parameters())
    serve(
        ready,
        {
            "epoch": lambda: timed(lambda: trainer.epoch(batches)),
            "trace": lambda path: trainer.trace(batches, path),
            "accuracy": lambda: trainer.accuracy(validation),
        },
    )


if __name__ == "__main__":
    main()
