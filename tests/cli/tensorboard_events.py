"""Prints what TensorBoard reads from a run and its sub-runs: python tensorboard_events.py RUN

{"scalars": {tag: [[step, wall time, value], ...]},
 "tensors": {tag: [[step, wall time, SHA-256 of the tensor], ...]}}
as JSON, each in the order of the files. Tags of sub-runs are prefixed: "train/loss".
"""

import hashlib
import json
import os
import sys

from tensorboard.backend.event_processing.event_accumulator import SCALARS, TENSORS
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer


def main(run):
    multiplexer = EventMultiplexer(size_guidance={SCALARS: 0, TENSORS: 0})
    multiplexer.AddRunsFromDirectory(run)
    multiplexer.Reload()
    read = {"scalars": {}, "tensors": {}}
    for name in multiplexer.Runs():
        events = multiplexer.GetAccumulator(name)
        tags = events.Tags()
        for tag in tags[SCALARS]:
            read["scalars"][path(name, tag)] = [scalar(event) for event in events.Scalars(tag)]
        for tag in tags[TENSORS]:
            read["tensors"][path(name, tag)] = [tensor(event) for event in events.Tensors(tag)]
    print(json.dumps(read))


def path(run, tag):
    return os.path.normpath(os.path.join(run, tag))


def scalar(event):
    return event.step, event.wall_time, event.value


def tensor(event):
    content = event.tensor_proto.SerializeToString(deterministic=True)
    return event.step, event.wall_time, hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    main(sys.argv[1])
