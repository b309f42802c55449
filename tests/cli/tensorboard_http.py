"""Prints what TensorBoard shows of runs: python tensorboard_http.py DIRECTORY

Starts TensorBoard on a directory of runs, reads the data of every plugin over HTTP, as its pages do,
and prints them as JSON, plugin by plugin.
"""

import json
import struct
import sys
import time
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from safetensors.numpy import load_file
from tensorboard import program

DEADLINE = 40
RELOAD_SECONDS = 1
STATUSES = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]


def main(directory):
    board = program.TensorBoard()
    address = ["--host", "127.0.0.1", "--port", "0"]
    reload_interval = ["--reload_interval", str(RELOAD_SECONDS)]
    board.configure(argv=[None, "--logdir", directory, *address, *reload_interval])
    pages = Pages(board.launch() + "data/")
    runs = sorted(path.parent.name for path in Path(directory).glob("*/config.yaml"))
    projected = any(Path(directory).glob("*/plugins"))
    deadline = time.monotonic() + DEADLINE
    while not pages.are_complete(runs, projected):
        if time.monotonic() > deadline:
            raise SystemExit("TensorBoard does not show the runs")
        time.sleep(0.2)
    # The run directory ends with the session; its sub-runs may still be loading.
    read, before = pages.read(), None
    while read != before:
        time.sleep(1.5 * RELOAD_SECONDS)
        read, before = pages.read(), read
    read["embeddings"] = {run: embeddings(Path(directory) / run) for run in runs}
    print(json.dumps(read))


class Pages:
    def __init__(self, url):
        self.url = url

    def bytes(self, path, body=None, **query):
        address = f"{self.url}{path}?{urlencode(query)}"
        data = None if body is None else json.dumps(body).encode()
        request = Request(address, data, {"Content-Type": "application/json"})
        with urlopen(request, timeout=DEADLINE) as response:
            return response.read()

    def json(self, path, body=None, **query):
        return json.loads(self.bytes(path, body, **query))

    def active(self):
        listing = self.json("plugins_listing")
        return sorted(name for name, plugin in listing.items() if plugin["enabled"])

    def read(self):
        return {
            "plugins": self.active(),
            "scalars": self.scalars(),
            "text": self.series("text", self.text),
            "pr_curves": self.series("pr_curves", self.pr_curves),
            "images": self.series("images", self.images),
            "histograms": self.series("histograms", self.histograms),
            "hparams": self.hparams(),
            "projector": {run: self.projector(run) for run in self.json("plugin/projector/runs")},
        }

    def are_complete(self, runs, projected):
        """Returns whether every session has ended."""
        ended = [
            session["name"]
            for group in self.session_groups()
            for session in group["sessions"]
            if session["status"] != "STATUS_UNKNOWN"
        ]
        return sorted(ended) == runs and (not projected or "projector" in self.active())

    def series(self, plugin, read):
        tags = self.json(f"plugin/{plugin}/tags")
        return {run: {tag: read(run, tag) for tag in own} for run, own in tags.items()}

    def scalars(self):
        """Returns the tags of each run."""
        tags = self.json("plugin/scalars/tags")
        return {run: sorted(own) for run, own in tags.items()}

    def text(self, run, tag):
        events = self.json("plugin/text/text", run=run, tag=tag)
        return [[event["step"], event["text"]] for event in events]

    def pr_curves(self, run, tag):
        return self.json("plugin/pr_curves/pr_curves", run=run, tag=tag)[run]

    def images(self, run, tag):
        """Returns the step of each image, and the width and height of its PNG file."""
        events = self.json("plugin/images/images", run=run, tag=tag, sample=0)
        return [[event["step"], *size_of_png(self.image(event))] for event in events]

    def image(self, event):
        with urlopen(f"{self.url}plugin/images/individualImage?{event['query']}") as response:
            return response.read()

    def histograms(self, run, tag):
        events = self.json("plugin/histograms/histograms", run=run, tag=tag)
        return [[step, buckets] for _, step, buckets in events]

    def session_groups(self):
        request = {"allowedStatuses": STATUSES, "colParams": [], "startIndex": 0, "sliceSize": 100}
        return self.json("plugin/hparams/session_groups", request).get("sessionGroups", [])

    def hparams(self):
        experiment = self.json("plugin/hparams/experiment", {})
        return {"experiment": experiment, "groups": self.session_groups()}

    def projector(self, run):
        """Returns the header, words and vectors of each tensor."""
        info = self.json("plugin/projector/info", run=run)
        return {entry["tensorName"]: self.tensor(run, entry) for entry in info["embeddings"]}

    def tensor(self, run, entry):
        name = entry["tensorName"]
        content = self.bytes("plugin/projector/tensor", run=run, name=name)
        values = struct.unpack(f"<{len(content) // 4}f", content)
        rows, columns = entry["tensorShape"]
        vectors = [values[row * columns : (row + 1) * columns] for row in range(rows)]
        lines = self.bytes("plugin/projector/metadata", run=run, name=name).decode().splitlines()
        header, *words = [line.split("\t") for line in lines]
        return {"header": header, "words": words, "vectors": vectors}


def size_of_png(content):
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", content[16:24])


def embeddings(run):
    """Returns the word vectors of a run's best checkpoint."""
    file = run / "best/model.safetensors"
    weights = load_file(file) if file.exists() else {}
    return {name: w.tolist() for name, w in weights.items() if name.endswith("embedding.weight")}


if __name__ == "__main__":
    main(sys.argv[1])
