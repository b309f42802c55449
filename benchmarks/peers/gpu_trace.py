"""How busy a GPU was, from a trace in Chrome's format that PyTorch's profiler has written."""

import bisect
import json
import sys
from pathlib import Path

WARM_UP = 0.2  # of the time, which is left out at the beginning
ON_DEVICE = {"kernel", "gpu_memcpy", "gpu_memset"}
LAUNCHES = {"cuda_runtime", "cuda_driver"}
LSTM = "_cudnn_rnn"  # forward and backward, in the names of operations

Interval = tuple[float, float]


def shares(path: Path) -> dict[str, float]:
    """Of the time in which the device was given work: the share in which it was at it ("busy"), and
    in which it was at kernels that cuDNN's LSTM had started ("cudnn")."""
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
    """The correlation numbers of what operations with `name` in theirs have started."""
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
    """The same time in intervals that do not overlap, in order."""
    result: list[Interval] = []
    for begin, end in sorted(intervals):
        if result and begin <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        elif begin < end:
            result.append((begin, end))
    return result


def covered(intervals: list[Interval]) -> float:
    """How long at least one interval lasts."""
    return sum(end - begin for begin, end in union(intervals))


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(name, json.dumps(shares(Path(name))))
