"""Prints what TensorBoard reads in a folder: python tensorboard_scalars.py RUN

{tag: [[step, wall time, value], ...]} as JSON, each curve in the order of the files.
"""

import json
import sys

from tensorboard.backend.event_processing import event_accumulator

EVERYTHING = {event_accumulator.SCALARS: 0}


def main(run):
    events = event_accumulator.EventAccumulator(run, size_guidance=EVERYTHING)
    events.Reload()
    tags = events.Tags()[event_accumulator.SCALARS]
    print(json.dumps({tag: [list(event_of(event)) for event in events.Scalars(tag)] for tag in tags}))


def event_of(event):
    return event.step, event.wall_time, event.value


if __name__ == "__main__":
    main(sys.argv[1])
