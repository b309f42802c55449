"""Measures how long an epoch of training takes in lstmtext, Keras and PyTorch, turn by turn."""

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

HERE = Path(__file__).resolve().parent
CONFIGS = HERE.parents[1] / "configs"
VALIDATION = 100  # reviews, which lstmtext cannot train without; they are not in the time

# The C library gives memory back to the system after every large tensor and has to get it anew,
# unless told to keep it: no mmap, and no trimming below 4 GiB.
KEEP_MEMORY = "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=4294967296"

LARGE = (
    "model.embedding.size=300", "model.embedding.word_dropout=0", "model.lstm.units=256",
    "model.lstm.bidirectional=false", "model.head.dropout=0", "train.batch_size=64",
    "train.learning_rate=0.001",
)  # fmt: skip


@dataclass(frozen=True)
class System:
    """What lstmtext is told; speed_worker.py has the same for the others."""

    config: str
    changes: tuple[str, ...] = ()
    most_reviews: int | None = None
    front_padding: bool = False


SYSTEMS = {
    "500": System("keras_imdb_500", front_padding=True),
    "80": System("keras_imdb_80", front_padding=True),
    "200": System("keras_early_stopping", front_padding=True),
    "theano": System("theano_meanpool"),
    "imdb": System("imdb"),
    "large": System("imdb", LARGE, most_reviews=640),
}


class Worker:
    """A process that holds a network in memory and trains an epoch when told to."""

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
        """The next line that the process prints."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.process.args} ended with {self.process.wait()}")
        return json.loads(line)

    def epoch(self) -> dict:
        """Seconds and loss of one more epoch."""
        assert self.process.stdin
        print("epoch", file=self.process.stdin, flush=True)
        return self.answer()

    def close(self) -> None:
        """Lets the process end."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


class Lstmtext:
    """The program, which trains three epochs from the start each time; the last one counts."""

    def __init__(self, arguments: argparse.Namespace, system: System, data: Path) -> None:
        self.program = arguments.lstmtext
        self.threads = arguments.threads
        self.config = CONFIGS / f"{system.config}.yaml"
        self.data = data
        self.changes = system.changes

    def run(self, *command: str, changes: tuple[str, ...] = ()) -> str:
        """What a command prints."""
        sets = [word for change in self.changes + changes for word in ("--set", change)]
        return subprocess.run(
            [self.program, *command, *sets], check=True, capture_output=True, text=True
        ).stdout

    def prepare(self, reviews: int) -> int:
        """Writes the words and the reviews that all train on; returns how many there are."""
        self.run("data", "vocab", str(self.config), "--to", str(self.data / "vocabulary.json"))
        self.run("data", "split", str(self.config), "--to", str(self.data / "all"))
        draw = random.Random(1)
        for part, number in (("validation", VALIDATION), ("train", reviews)):
            lines = (self.data / "all" / f"{part}.jsonl").read_bytes().splitlines(keepends=True)
            drawn = draw.sample(lines, min(number, len(lines)))
            (self.data / f"{part}.jsonl").write_bytes(b"".join(drawn))
        return len(drawn)

    def is_sparse(self) -> bool:
        """Whether the configuration changes only the rows of the embedding that have a gradient."""
        return "sparse_embedding: true" in self.run("config", str(self.config))

    def epoch(self, *more: str) -> dict:
        """Seconds and loss of the third epoch of a new run."""
        changes = (
            f"data.train={self.data / 'train.jsonl'}",
            f"data.validation={self.data / 'validation.jsonl'}",
            "data.filter={}",
            "data.split.test=0",
            f"text.vocabulary={self.data / 'vocabulary.json'}",
            "train.epochs=3",
            "train.early_stopping.patience=null",
            "train.validate_every=epoch",
            *more,
        )
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            command = ("train", str(self.config), "--out", str(run), "--device", "cpu")
            self.run(*command, "--threads", str(self.threads), changes=changes)
            time, metrics = (
                json.loads((run / name).read_text().splitlines()[-1])
                for name in ("times.jsonl", "metrics.jsonl")
            )
        return {"seconds": time["train_seconds"], "loss": metrics["train"]["loss"]}


def measure(name: str, arguments: argparse.Namespace) -> dict:
    """All contestants of a system, with the seconds of every round but the first."""
    system = SYSTEMS[name]
    epochs: dict[str, Callable[[], dict]] = {}
    about: dict[str, dict] = {}
    with ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        lstmtext = Lstmtext(arguments, system, data)
        reviews = lstmtext.prepare(min(arguments.reviews, system.most_reviews or arguments.reviews))
        epochs["lstmtext"] = lstmtext.epoch
        if lstmtext.is_sparse():
            epochs["lstmtext dense"] = lambda: lstmtext.epoch("train.sparse_embedding=false")
        if system.front_padding:
            # As PyTorch does it here: real words alone, texts of like length together.
            epochs["lstmtext without padding"] = lambda: lstmtext.epoch(
                "text.pad=back", "train.bucketing=true"
            )

        threads = str(arguments.threads)
        keep = {"GLIBC_TUNABLES": KEEP_MEMORY}
        for contestant, python, script, options, environment in (
            ("Keras", arguments.keras, "speed_keras.py", [], {}),
            ("PyTorch tutorial", arguments.torch, "speed_torch.py", [], {}),
            ("PyTorch best", arguments.torch, "speed_torch.py", ["--best"], keep),
            ("PyTorch best, default allocator", arguments.torch, "speed_torch.py", ["--best"], {}),
        ):
            command = [python, str(HERE / script), name, str(data), "--threads", threads, *options]
            if contestant in arguments.skip:
                continue
            worker = Worker(command, {"OMP_NUM_THREADS": threads} | environment)
            stack.callback(worker.close)
            epochs[contestant] = worker.epoch
            about[contestant] = worker.about

        rounds = []
        for number in range(arguments.rounds + 1):
            rounds.append({contestant: epoch() for contestant, epoch in epochs.items()})
            times = ", ".join(f"{key} {value['seconds']:.2f}" for key, value in rounds[-1].items())
            print(f"{name}, round {number or 'that is left out'}: {times}", file=sys.stderr)
    tokens = {value["tokens"] for value in about.values()}
    assert len(tokens) == 1, f"not the same tokens: {about}"
    return summarize(rounds, tokens.pop(), about) | {"reviews": reviews}


def summarize(rounds: list[dict[str, dict]], tokens: int, about: dict[str, dict]) -> dict:
    """Medians over the rounds after the first, and of the ratios within each round."""
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
    """The result of a system in Markdown."""
    lines = [
        f"\n{name}: {result['reviews']:,} reviews, {result['tokens']:,} tokens\n",
        "| contestant | s/epoch | min | max | tokens/s | time / lstmtext's | min | max |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for contestant, row in result["contestants"].items():
        seconds, ratio = row["seconds"], row["ratio"]
        cells = [f"{seconds[key]:.3f}" for key in ("median", "min", "max")]
        cells.append(f"{row['tokens_per_second']:,}")
        cells += [f"{ratio[key]:.2f}" for key in ("median", "min", "max")]
        lines.append(f"| {contestant} | {' | '.join(cells)} |")
    return "\n".join(lines)


def processor() -> str:
    """The CPU's name."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("system", nargs="*", help=f"of {', '.join(SYSTEMS)}; by default all")
    parser.add_argument("--keras", metavar="PYTHON", default=".venv/keras/bin/python")
    parser.add_argument("--torch", metavar="PYTHON", default=".venv/torch/bin/python")
    parser.add_argument("--lstmtext", metavar="PROGRAM", default="target/release/lstmtext")
    parser.add_argument("--reviews", metavar="N", type=int, default=2560)
    parser.add_argument("--rounds", metavar="N", type=int, default=5)
    parser.add_argument("--threads", metavar="N", type=int, default=2)
    parser.add_argument(
        "--skip", metavar="NAME", action="append", default=[], help="leave a peer out, as 'Keras'"
    )
    parser.add_argument("--out", metavar="FILE", type=Path, required=True)
    arguments = parser.parse_args()
    names = arguments.system or list(SYSTEMS)
    if unknown := set(names) - set(SYSTEMS):
        parser.error(f"no such system: {', '.join(sorted(unknown))}")

    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    version = subprocess.run(
        [arguments.lstmtext, "--version"], check=True, capture_output=True, text=True
    ).stdout
    report = {
        "cpu": processor(),
        "threads": arguments.threads,
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
    versions = ", ".join(f"{name} {value}" for name, value in report["versions"].items())
    print(f"\n{report['cpu']}, {report['threads']} threads, {versions}")


if __name__ == "__main__":
    main()
