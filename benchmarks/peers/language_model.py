"""Compare the speed of `lstmtext pretrain` with that of the same training step in PyTorch.

The step: a forward language model, tied embedding, LSTM, projection, sampled softmax over shared negatives,
clipping and Adam, on the texts of FILE (plain text, one per line). PyTorch computes it in its best form: denormals
flushed, fused Adam. Both compute in fp32 and in bf16 (PyTorch with autocast), and alternate; the table has the medians of
all rounds, and the ratio to lstmtext in the same precision within a round. Run it with the Python of requirements-torch.txt:

    .venv/torch/bin/python benchmarks/peers/language_model.py texts.txt --lstmtext target/release/lstmtext
"""

import argparse
import collections
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOKEN = re.compile(r"\w+|[^\w\s]")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--lstmtext", default="lstmtext")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--embedding", type=int, default=100)
    parser.add_argument("--units", type=int, default=256)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--negatives", type=int, default=1000)
    parser.add_argument("--vocabulary", type=int, default=30_000)
    parser.add_argument("--tokens", type=int, default=400_000, help="tokens of a round")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--worker", choices=["fp32", "bf16"], help=argparse.SUPPRESS)
    return parser.parse_args()


def measure_torch(arguments: argparse.Namespace) -> float:
    """Return the tokens per second of PyTorch."""
    import torch
    from torch.nn import functional

    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(1)
    words = []
    for line in arguments.file.open(encoding="utf-8"):
        words += TOKEN.findall(line.lower())
        if len(words) > 2 * arguments.tokens:
            break
    ranked = [word for word, _ in collections.Counter(words).most_common(arguments.vocabulary)]
    ids = {word: index for index, word in enumerate(ranked)}
    stream = torch.tensor([ids.get(word, 0) for word in words])
    counts = torch.bincount(stream, minlength=arguments.vocabulary).clamp(min=1).double()
    sampling = counts**0.75
    log_expected = (arguments.negatives * sampling / sampling.sum()).log().float()
    embedding = torch.nn.Embedding(arguments.vocabulary, arguments.embedding, sparse=False)
    lstm = torch.nn.LSTM(arguments.embedding, arguments.units, batch_first=True)
    projection = torch.nn.Linear(arguments.units, arguments.embedding)
    bias = torch.nn.Parameter(torch.zeros(arguments.vocabulary))
    parameters = [*embedding.parameters(), *lstm.parameters(), *projection.parameters(), bias]
    optimizer = torch.optim.Adam(parameters, lr=0.003, betas=(0.9, 0.99), fused=True)
    rows, length = arguments.rows, arguments.length
    width = len(stream) // rows
    stream = stream[: rows * width].view(rows, width)
    state = None
    scale = arguments.embedding**-0.5

    def step(position: int) -> None:
        nonlocal state
        inputs = stream[:, position : position + length]
        targets = stream[:, position + 1 : position + length + 1].reshape(-1)
        negatives = torch.multinomial(sampling, arguments.negatives, replacement=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=arguments.worker == "bf16"):
            hidden, state = lstm(embedding(inputs), state)
            state = tuple(part.detach() for part in state)
            queries = projection(hidden.reshape(-1, arguments.units))
            noise = queries @ embedding.weight[negatives].T * scale
            target = (queries * embedding.weight[targets]).sum(1) * scale
        noise = noise.float() + bias[negatives] - log_expected[negatives]
        noise = noise.masked_fill(negatives[None] == targets[:, None], float("-inf"))
        target = target.float() + bias[targets] - log_expected[targets]
        logits = torch.cat([target[:, None], noise], 1)
        loss = functional.cross_entropy(logits, torch.zeros_like(targets))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    positions = range(0, width - length - 1, length)
    for position in positions[:3]:
        step(position)
    timed = positions[3 : 3 + max(1, arguments.tokens // (rows * length))]
    start = time.perf_counter()
    for position in timed:
        step(position)
    return len(timed) * rows * length / (time.perf_counter() - start)


def measure_worker(precision: str) -> float:
    command = [sys.executable, *sys.argv, "--worker", precision]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure_lstmtext(arguments: argparse.Namespace, precision: str) -> float:
    settings = {
        "precision": precision,
        "text.vocabulary_size": arguments.vocabulary,
        "model.embedding.size": arguments.embedding,
        "model.lstm.units": arguments.units,
        "model.lstm.bidirectional": "false",
        "pretrain.language_model.batch_size": arguments.rows,
        "pretrain.language_model.sequence_length": arguments.length,
        "pretrain.language_model.negatives": arguments.negatives,
        "pretrain.language_model.validation_tokens": 1,
    }
    options = [f"--set={field}={value}" for field, value in settings.items()]
    with tempfile.TemporaryDirectory() as directory:
        texts = Path(directory, "texts.txt")
        with texts.open("w", encoding="utf-8") as file:
            tokens = 0
            for line in arguments.file.open(encoding="utf-8"):
                file.write(line)
                tokens += len(TOKEN.findall(line))
                if tokens > arguments.tokens:
                    break
        command = [arguments.lstmtext, "pretrain", texts, "--out", Path(directory, "run"), "--json"]
        command += ["--threads", str(arguments.threads), *options]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)["tokens_per_second"]


def main() -> None:
    arguments = parse_arguments()
    if arguments.worker:
        print(measure_torch(arguments))
        return
    rounds = []
    for number in range(arguments.rounds):
        rates = {
            "lstmtext fp32": measure_lstmtext(arguments, "fp32"),
            "PyTorch fp32": measure_worker("fp32"),
            "lstmtext bf16": measure_lstmtext(arguments, "bf16"),
            "PyTorch bf16": measure_worker("bf16"),
        }
        rounds.append(rates)
        shown = ", ".join(f"{name} {rate:,.0f}" for name, rate in rates.items())
        print(f"round {number + 1}: {shown} tokens/s", file=sys.stderr)
    print("| program | tokens/s | lstmtext is faster by |\n|---|---|---|")
    for name in rounds[0]:
        rate = statistics.median(rates[name] for rates in rounds)
        same = "lstmtext " + name.split()[-1]
        ratios = sorted(rates[same] / rates[name] for rates in rounds)
        middle = statistics.median(ratios)
        print(f"| {name} | {rate:,.0f} | {middle:.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f}) |")


if __name__ == "__main__":
    main()
