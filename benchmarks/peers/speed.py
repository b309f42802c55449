"""Measure the time of a training epoch in lstmtext, Keras and PyTorch, alternating."""

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from gpu_trace import shares

HERE = Path(__file__).resolve().parent
CONFIGS = HERE.parents[1] / "configs"
VALIDATION = 100  # reviews that lstmtext needs for validation, which is not measured
EPOCHS = 10  # maximum for reaching an accuracy

# By default the C library returns the memory of every large tensor to the system and requests it again.
# This makes it keep the memory: no mmap, and no trimming below 4 GiB.
KEEP_MEMORY = "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=4294967296"

PLAIN = ("train.adversarial.epsilon=null",)
LARGE = (
    *PLAIN, "model.embedding.size=300", "model.embedding.word_dropout=0", "model.lstm.units=256",
    "model.lstm.bidirectional=false", "model.head.dropout=0", "train.batch_size=64",
    "train.learning_rate=0.001",
)  # fmt: skip
WIDE = (*LARGE, "model.lstm.units=512", "model.lstm.bidirectional=true")
LONG = (
    *LARGE, "model.embedding.size=768", "model.lstm.units=768", "train.batch_size=16",
    "text.max_length=1024",
)  # fmt: skip


@dataclass(frozen=True)
class System:
    """Options of lstmtext; speed_worker.py has the equivalent for the other programs."""

    config: str
    changes: tuple[str, ...] = ()
    most_reviews: int | None = None
    front_padding: bool = False
    joined: int = 1  # reviews concatenated into a text, if all texts must have the full length
    for_gpus: bool = False


SYSTEMS = {
    "500": System("keras_imdb_500", front_padding=True),
    "80": System("keras_imdb_80", front_padding=True),
    "200": System("keras_early_stopping", front_padding=True),
    "theano": System("theano_meanpool"),
    "imdb": System("imdb_lstm", PLAIN),
    "large": System("imdb_lstm", LARGE, most_reviews=640),
    "wide": System("imdb_lstm", WIDE, joined=4, for_gpus=True),
    "long": System("imdb_lstm", LONG, most_reviews=640, joined=10, for_gpus=True),
}


class Worker:
    """A process that keeps a network in memory and trains an epoch on request."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            command,
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.about = self.answer()

    def answer(self) -> dict:
        """Return the next line that the process prints."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.process.args} ended with {self.process.wait()}")
        return json.loads(line)

    def ask(self, command: str) -> dict:
        """Send a command and return the answer."""
        assert self.process.stdin
        print(command, file=self.process.stdin, flush=True)
        return self.answer()

    def epoch(self) -> dict:
        """Train another epoch; return its seconds and loss."""
        return self.ask("epoch")

    def trace(self, path: Path) -> None:
        """Write a trace of some steps."""
        self.ask(f"trace {path}")

    def until(self, accuracy: float, epochs: int) -> float | None:
        """Return the training time, in whole epochs, until this accuracy on held-out reviews."""
        seconds = 0.0
        for _ in range(epochs):
            seconds += self.epoch()["seconds"]
            if self.ask("accuracy")["accuracy"] >= accuracy:
                return seconds
        return None

    def close(self) -> None:
        """Stop the process."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


class Lstmtext:
    """The lstmtext program, which starts a new run each time."""

    def __init__(self, arguments: argparse.Namespace, system: System, data: Path) -> None:
        self.program = arguments.lstmtext
        self.threads = arguments.threads
        self.device = arguments.device
        self.precision = arguments.precision
        self.joined = system.joined
        self.config = CONFIGS / f"{system.config}.yaml"
        self.data = data
        self.changes = system.changes

    def run(self, *command: str, changes: tuple[str, ...] = ()) -> str:
        """Run a command and return what it prints."""
        sets = [word for change in self.changes + changes for word in ("--set", change)]
        done = subprocess.run([self.program, *command, *sets], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{self.program} {' '.join(command)}: {done.stderr}")
        return done.stdout

    def prepare(self, reviews: int, validation: int) -> int:
        """Write the vocabulary and the reviews that all programs use; return the number of reviews."""
        self.run("data", "vocab", str(self.config), "--to", str(self.data / "vocabulary.json"))
        self.run("data", "split", str(self.config), "--to", str(self.data / "all"))
        draw = random.Random(1)
        for part, number in (("validation", validation), ("train", reviews)):
            lines = (self.data / "all" / f"{part}.jsonl").read_text().split("\n")[:-1]
            draw.shuffle(lines)
            texts = [
                joined(lines[first : first + self.joined])
                for first in range(0, len(lines) - self.joined + 1, self.joined)
            ]
            drawn = texts[:number]
            (self.data / f"{part}.jsonl").write_text("".join(line + "\n" for line in drawn))
        return len(drawn)

    def is_sparse(self) -> bool:
        """Return whether the configuration updates only the embedding rows that have a gradient."""
        return "sparse_embedding: true" in self.run("config", str(self.config))

    def settings(self, *more: str) -> tuple[str, ...]:
        """Return the options with which the program trains on the same data as the others."""
        return (
            f"data.train={self.data / 'train.jsonl'}",
            f"data.validation={self.data / 'validation.jsonl'}",
            "data.filter={}",
            "data.split.test=0",
            f"text.vocabulary={self.data / 'vocabulary.json'}",
            "train.early_stopping.patience=null",
            "train.validate_every=epoch",
            f"precision={self.precision}",
            *more,
        )

    def epochs(self, number: int, *more: str) -> list[dict]:
        """Return the seconds, loss and validation accuracy of each epoch of a new run."""
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            command = ("train", str(self.config), "--out", str(run), "--device", self.device)
            changes = self.settings(f"train.epochs={number}", *more)
            self.run(*command, "--threads", str(self.threads), changes=changes)
            times, metrics = (
                [json.loads(line) for line in (run / name).read_text().splitlines()]
                for name in ("times.jsonl", "metrics.jsonl")
            )
        return [
            {
                "seconds": time["train_seconds"],
                "loss": record["train"]["loss"],
                "accuracy": record["validation"]["accuracy"],
            }
            for time, record in zip(times, metrics)
        ]

    def epoch(self, *more: str) -> dict:
        """Return the seconds and loss of the third epoch of a new run."""
        return self.epochs(3, *more)[-1]

    def trace(self, path: Path) -> None:
        """Write a trace of some steps."""
        command = ("bench", str(self.config), "--device", self.device, "--trace", str(path))
        amount = ("--threads", str(self.threads), "--steps", "20", "--rounds", "1")
        self.run(*command, *amount, changes=self.settings())

    def until(self, accuracy: float, epochs: int) -> float | None:
        """Return the training time, in whole epochs, until this accuracy on held-out reviews."""
        seconds = 0.0
        # Constant, like the others: a schedule would depend on the number of planned epochs.
        for epoch in self.epochs(epochs, "train.schedule.name=constant"):
            seconds += epoch["seconds"]
            if epoch["accuracy"] >= accuracy:
                return seconds
        return None


def joined(lines: list[str]) -> str:
    """Concatenate several examples into one, with the label of the first."""
    examples = [json.loads(line) for line in lines]
    text = " ".join(example["text"] for example in examples)
    return json.dumps(examples[0] | {"text": text})


def workers(arguments: argparse.Namespace, name: str, data: Path) -> dict[str, Worker]:
    """Start the other programs, with their data in memory."""
    threads = str(arguments.threads)
    keep = {"GLIBC_TUNABLES": KEEP_MEMORY}
    best = ["--best"]
    on = ["--device", arguments.device, "--precision", arguments.precision]
    peers = [
        ("PyTorch tutorial", arguments.torch, "speed_torch.py", on, {}),
        ("PyTorch best", arguments.torch, "speed_torch.py", best + on, keep),
    ]
    if arguments.device == "cpu":
        peers += [
            ("Keras", arguments.keras, "speed_keras.py", [], {}),
            ("PyTorch best, default allocator", arguments.torch, "speed_torch.py", best + on, {}),
        ]
    found = {}
    for contestant, python, script, options, environment in peers:
        if contestant in arguments.skip:
            continue
        command = [python, str(HERE / script), name, str(data), "--threads", threads, *options]
        found[contestant] = Worker(command, {"OMP_NUM_THREADS": threads} | environment)
    return found


def measure(name: str, arguments: argparse.Namespace) -> dict:
    """Measure all programs on a system; return the seconds of every round but the first."""
    system = SYSTEMS[name]
    epochs: dict[str, Callable[[], dict]] = {}
    with ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        lstmtext = Lstmtext(arguments, system, data)
        reviews = min(arguments.reviews, system.most_reviews or arguments.reviews)
        reviews = lstmtext.prepare(reviews, VALIDATION)
        epochs["lstmtext"] = lstmtext.epoch
        if lstmtext.is_sparse():
            epochs["lstmtext dense"] = lambda: lstmtext.epoch("train.sparse_embedding=false")
        if system.front_padding:
            # Like PyTorch here: no padding is read, and texts of similar length share a batch.
            epochs["lstmtext without padding"] = lambda: lstmtext.epoch(
                "text.pad=back", "train.bucketing=true"
            )

        peers = workers(arguments, name, data)
        for contestant, worker in peers.items():
            stack.callback(worker.close)
            epochs[contestant] = worker.epoch
        about = {contestant: worker.about for contestant, worker in peers.items()}

        rounds = []
        for number in range(arguments.rounds + 1):
            rounds.append({contestant: epoch() for contestant, epoch in epochs.items()})
            times = ", ".join(f"{key} {value['seconds']:.2f}" for key, value in rounds[-1].items())
            print(f"{name}, round {number or '(warm-up)'}: {times}", file=sys.stderr)
        if arguments.device != "cpu":
            traced: dict[str, Worker | Lstmtext] = {"lstmtext": lstmtext, **peers}
            for contestant, program in traced.items():
                program.trace(data / "trace.json")
                found = shares(data / "trace.json")
                if not found:
                    sys.exit(f"{contestant}: the trace contains no kernels; is profiling permitted?")
                about.setdefault(contestant, {}).update(found)
                (data / "trace.json").unlink()
    tokens = {worker.about["tokens"] for worker in peers.values()}
    assert len(tokens) == 1, f"not the same tokens: {about}"
    return summarize(rounds, tokens.pop(), about) | {"reviews": reviews}


def time_to(accuracy: float, arguments: argparse.Namespace) -> dict[str, list[float | None]]:
    """Return for each program and round the seconds until it reaches this accuracy on held-out reviews,
    training configs/imdb_lstm.yaml on all reviews."""
    seconds: dict[str, list[float | None]] = {}
    with ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        lstmtext = Lstmtext(arguments, SYSTEMS["imdb"], data)
        lstmtext.prepare(sys.maxsize, sys.maxsize)
        for _ in range(arguments.rounds):
            contestants: dict[str, Worker | Lstmtext] = {"lstmtext": lstmtext}
            peers = workers(arguments, "imdb", data)
            for contestant, program in (contestants | peers).items():
                took = program.until(accuracy, EPOCHS)
                seconds.setdefault(contestant, []).append(took)
                print(f"{accuracy:.0%}: {contestant} {took}", file=sys.stderr)
            for worker in peers.values():
                worker.close()
    return seconds


def summarize(rounds: list[dict[str, dict]], tokens: int, about: dict[str, dict]) -> dict:
    """Compute the medians over the rounds after the first, and of the ratios within each round."""
    counted = rounds[1:]
    contestants = {}
    for name in rounds[0]:
        seconds = [one[name]["seconds"] for one in counted]
        median = statistics.median(seconds)
        contestants[name] = {
            "seconds": spread(seconds),
            "tokens_per_second": round(tokens / median),
            "ratio": spread([one[name]["seconds"] / one["lstmtext"]["seconds"] for one in counted]),
            "rounds": seconds,
            "losses": [one[name]["loss"] for one in rounds],
            "about": about.get(name, {}),
        }
    return {"tokens": tokens, "contestants": contestants}


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def table(name: str, result: dict) -> str:
    """Format the result of a system in Markdown."""
    lines = [
        f"\n{name}: {result['reviews']:,} reviews, {result['tokens']:,} tokens\n",
        "| contestant | s/epoch | min | max | tokens/s | time / lstmtext's | min | max |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    traced = any("busy" in row["about"] for row in result["contestants"].values())
    if traced:
        lines[1] += " GPU busy | in cuDNN |"
        lines[2] += "---:|---:|"
    for contestant, row in result["contestants"].items():
        seconds, ratio = row["seconds"], row["ratio"]
        cells = [f"{seconds[key]:.3f}" for key in ("median", "min", "max")]
        cells.append(f"{row['tokens_per_second']:,}")
        cells += [f"{ratio[key]:.2f}" for key in ("median", "min", "max")]
        if traced:
            shown = [row["about"].get(key) for key in ("busy", "cudnn")]
            cells += ["–" if share is None else f"{share:.1%}" for share in shown]
        lines.append(f"| {contestant} | {' | '.join(cells)} |")
    return "\n".join(lines)


def processor() -> str:
    """Return the name of the CPU."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("system", nargs="*", help=f"systems to measure: {', '.join(SYSTEMS)}; by default all")
    parser.add_argument("--keras", metavar="PYTHON", default=".venv/keras/bin/python")
    parser.add_argument("--torch", metavar="PYTHON", default=".venv/torch/bin/python")
    parser.add_argument("--lstmtext", metavar="PROGRAM", default="target/release/lstmtext")
    parser.add_argument("--device", default="cpu", help="cpu or cuda; cuda adds wide and long")
    parser.add_argument("--precision", choices=["fp32", "tf32", "fp16"], default="tf32")
    parser.add_argument(
        "--until", metavar="ACCURACY", type=float, help="accuracy on held-out reviews, e.g. 0.88"
    )
    parser.add_argument("--reviews", metavar="N", type=int, default=2560)
    parser.add_argument("--rounds", metavar="N", type=int, default=5)
    parser.add_argument("--threads", metavar="N", type=int, default=2)
    parser.add_argument(
        "--skip", metavar="NAME", action="append", default=[], help="skip a program, for example 'Keras'"
    )
    parser.add_argument("--out", metavar="FILE", type=Path, required=True)
    arguments = parser.parse_args()
    on_gpu = arguments.device != "cpu"
    if arguments.precision == "fp16" and not on_gpu:
        parser.error("--precision fp16 requires --device cuda")
    names = arguments.system or [
        name for name, system in SYSTEMS.items() if on_gpu or not system.for_gpus
    ]
    if unknown := set(names) - set(SYSTEMS):
        parser.error(f"unknown system: {', '.join(sorted(unknown))}")

    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    version = subprocess.run(
        [arguments.lstmtext, "--version"], check=True, capture_output=True, text=True
    ).stdout
    report = {
        "cpu": processor(),
        "threads": arguments.threads,
        "device": arguments.device,
        "precision": arguments.precision,
        "rounds": arguments.rounds,
        "versions": {"lstmtext": version.split()[-1]},
        "systems": {},
    }
    for name in names:
        result = measure(name, arguments)
        for contestant in result["contestants"].values():
            report["versions"] |= contestant["about"].pop("versions", {})
        report["systems"][name] = result
        arguments.out.write_text(json.dumps(report, indent=1) + "\n")
        print(table(name, result), flush=True)
    if arguments.until is not None:
        report["until"] = {
            "accuracy": arguments.until,
            "seconds": time_to(arguments.until, arguments),
        }
        arguments.out.write_text(json.dumps(report, indent=1) + "\n")
        print(f"\ntime to {arguments.until:.0%} of held-out reviews: {report['until']['seconds']}")
    versions = ", ".join(f"{name} {value}" for name, value in report["versions"].items())
    on = f"{arguments.device}, {arguments.precision}, " if on_gpu else ""
    print(f"\n{on}{report['cpu']}, {report['threads']} threads, {versions}")


if __name__ == "__main__":
    main()
