"""Measure the requests per second of lstmtext's server and of one made of FastAPI and PyTorch.

Both serve the same run of configs/imdb_lstm.yaml and get the same reviews, which wrk posts one by one on many
connections. They alternate; each uses all CPU cores, which it shares with wrk.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
SAME = 200  # reviews whose predictions are compared


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(port: int, body: bytes) -> dict:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/predict", body)
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@contextmanager
def server(command: list[str], port: int, body: bytes):
    """Run the server; yield when it answers."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                ask(port, body)
                break
            except OSError:
                time.sleep(0.1)
        else:
            raise SystemExit(f"{command[0]} does not answer")
        yield
    finally:
        process.terminate()
        process.wait()


def load(port: int, connections: int, seconds: int, bodies: Path) -> dict[str, float]:
    """Run wrk for some seconds and return its report."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "60s"]
    command += ["-s", str(HERE / "serve.lua"), f"http://127.0.0.1:{port}"]
    environment = {**os.environ, "BODIES": str(bodies)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    requests, microseconds, errors, median, tail, _ = map(float, line.split()[1:])
    return {
        "per_second": 1e6 * requests / microseconds,
        "errors": errors,
        "median_ms": median / 1000,
        "p99_ms": tail / 1000,
    }


def spread(values: list[float], digits: int = 0) -> str:
    """Format the median, minimum and maximum."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):,.{digits}f} ({low:,.{digits}f}–{high:,.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run of configs/imdb_lstm.yaml")
    parser.add_argument("--lstmtext", default="target/release/lstmtext")
    parser.add_argument("--torch", default=sys.executable, help="a Python with PyTorch and FastAPI")
    parser.add_argument("--connections", type=int, nargs="+", default=[16, 1000])
    parser.add_argument("--words", type=int, help="number of words to keep of each review")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch per request")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        split, exported = Path(folder) / "split", Path(folder) / "exported"
        command = [arguments.lstmtext, "data", "split", "configs/imdb.yaml", "--to", str(split)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        command = [arguments.lstmtext, "export", str(arguments.run), "--to", str(exported)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        with open(split / "validation.jsonl", encoding="utf-8") as lines:
            texts = [json.loads(line)["text"].split(" ") for line in lines]
        bodies = Path(folder) / "bodies"
        cut = [" ".join(words[: arguments.words]) for words in texts]
        questions = [json.dumps({"text": text}).encode() for text in cut]
        bodies.write_bytes(b"\n".join(questions) + b"\n")
        ours, theirs = free_port(), free_port()
        own = [arguments.lstmtext, "serve", str(arguments.run), "--port", str(ours)]
        peer = [arguments.torch, str(HERE / "serve_torch.py"), str(exported), str(theirs)]
        peer.append(str(arguments.threads))
        with server(own, ours, questions[0]), server(peer, theirs, questions[0]):
            differences = []
            for question in questions[:SAME]:
                found, expected = ask(ours, question), ask(theirs, question)
                of = {one["label"]: one["probability"] for one in found["classes"]}
                differences += [
                    abs(of[one["label"]] - one["probability"]) for one in expected["classes"]
                ]
            print(f"probabilities of {SAME} reviews differ by at most {max(differences):.1e}")
            for connections in arguments.connections:
                rounds: dict[str, list[dict[str, float]]] = {"lstmtext": [], "FastAPI": []}
                for _ in range(arguments.rounds + 1):
                    for name, port in (("lstmtext", ours), ("FastAPI", theirs)):
                        rounds[name].append(load(port, connections, arguments.seconds, bodies))
                print(f"\n{connections} connections")
                for name, measured in rounds.items():
                    kept = measured[1:]
                    of = {key: [one[key] for one in kept] for key in kept[0]}
                    print(
                        f"{name}: {spread(of['per_second'])} answers/s; median "
                        f"{spread(of['median_ms'], 1)} ms, 99 % within {spread(of['p99_ms'], 1)} ms; "
                        f"{sum(of['errors']):.0f} errors"
                    )
                pairs = zip(rounds["lstmtext"][1:], rounds["FastAPI"][1:])
                ratios = [own["per_second"] / peer["per_second"] for own, peer in pairs]
                print(f"lstmtext / FastAPI: {spread(ratios, 1)}")


if __name__ == "__main__":
    main()
