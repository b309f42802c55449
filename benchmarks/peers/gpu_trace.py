"""Compute how busy a GPU was from a trace in Chrome's format, written by PyTorch's profiler."""

import bisect
import json
import sys
from pathlib import Path

WARM_UP = 0.2  # share of the time that is skipped at the beginning
ON_DEVICE = {"kernel", "gpu_memcpy", "gpu_memset"}
LAUNCHES = {"cuda_runtime", "cuda_driver"}
LSTM = "_cudnn_rnn"  # in the names of the forward and backward operations

Interval = tuple[float, float]


def shares(path: Path) -> dict[str, float]:
    """Return the share of the time in which the device was busy, and in which it ran kernels that
    cuDNN's LSTM had launched ("cudnn")."""
    events = [event for event in json.loads(path.read_text())["traceEvents"] if "dur" in event]
    kernels = [event for event in events if event.get("cat") in ON_DEVICE]
    if not kernels:
        return {}
    lstm = launched_by(LSTM, events)
    begin = min(event["ts"] for event in kernels)
    end = max(event["ts"] + event["dur"] for event in kernels)
    begin += WARM_UP * (end - begin)

    def share(chosen: list[dict]) -> float:
        intervals = [(max(one["ts"], begin), one["ts"] + one["dur"]) for one in chosen]
        return covered(intervals) / (end - begin)

    own = [event for event in kernels if event["args"].get("correlation") in lstm]
    return {"busy": share(kernels), "cudnn": share(own)}


def launched_by(name: str, events: list[dict]) -> set[int]:
    """Return the correlation ids of the kernels launched by operations whose names contain `name`."""
    operations: dict[tuple, list[Interval]] = {}
    for event in events:
        if event.get("cat") == "cpu_op" and name in event["name"]:
            thread = (event["pid"], event["tid"])
            interval = (event["ts"], event["ts"] + event["dur"])
            operations.setdefault(thread, []).append(interval)
    merged = {thread: union(intervals) for thread, intervals in operations.items()}
    found = set()
    for event in events:
        if event.get("cat") in LAUNCHES and "correlation" in event.get("args", {}):
            intervals = merged.get((event["pid"], event["tid"]), [])
            place = bisect.bisect_right(intervals, (event["ts"], float("inf"))) - 1
            if place >= 0 and event["ts"] <= intervals[place][1]:
                found.add(event["args"]["correlation"])
    return found


def union(intervals: list[Interval]) -> list[Interval]:
    """Merge overlapping intervals, in order."""
    result: list[Interval] = []
    for begin, end in sorted(intervals):
        if result and begin <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        elif begin < end:
            result.append((begin, end))
    return result


def covered(intervals: list[Interval]) -> float:
    """Return the time covered by at least one interval."""
    return sum(end - begin for begin, end in union(intervals))


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(name, json.dumps(shares(Path(name))))
