"""Prints what TensorBoard reads in a folder: python tensorboard_events.py RUN

{"scalars": {tag: [[step, wall time, value], ...]},
 "tensors": {tag: [[step, wall time, SHA-256 of the tensor], ...]}}
as JSON, each in the order of the files.
"""

import hashlib
import json
import sys

from tensorboard.backend.event_processing import event_accumulator
from tensorboard.backend.event_processing.event_accumulator import SCALARS, TENSORS


def main(run):
    events = event_accumulator.EventAccumulator(run, size_guidance={SCALARS: 0, TENSORS: 0})
    events.Reload()
    tags = events.Tags()
    scalars = {tag: [scalar(event) for event in events.Scalars(tag)] for tag in tags[SCALARS]}
    tensors = {tag: [tensor(event) for event in events.Tensors(tag)] for tag in tags[TENSORS]}
    print(json.dumps({"scalars": scalars, "tensors": tensors}))


def scalar(event):
    return event.step, event.wall_time, event.value


def tensor(event):
    content = event.tensor_proto.SerializeToString(deterministic=True)
    return event.step, event.wall_time, hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    main(sys.argv[1])
