"""Prints what TensorBoard shows of some runs: python tensorboard_http.py FOLDER

Starts TensorBoard on the folder, reads the data of every plugin over HTTP as its pages do, and
prints them as JSON, plugin by plugin.
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
STATUSES = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]


def main(folder):
    board = program.TensorBoard()
    where = ["--logdir", folder, "--host", "127.0.0.1", "--port", "0"]
    board.configure(argv=[None, *where, "--reload_interval", "1"])
    pages = Pages(board.launch() + "data/")
    runs = sorted(path.parent.name for path in Path(folder).glob("*/config.yaml"))
    projected = any(Path(folder).glob("*/plugins"))
    deadline = time.monotonic() + DEADLINE
    while not pages.are_complete(runs, projected):
        if time.monotonic() > deadline:
            raise SystemExit("TensorBoard does not show the runs")
        time.sleep(0.2)
    read = {
        "plugins": pages.active(),
        "text": pages.series("text", pages.text),
        "pr_curves": pages.series("pr_curves", pages.pr_curves),
        "images": pages.series("images", pages.images),
        "histograms": pages.series("histograms", pages.histograms),
        "hparams": pages.hparams(),
        "projector": {run: pages.projector(run) for run in pages.json("plugin/projector/runs")},
        "embeddings": {run: embeddings(Path(folder) / run) for run in runs},
    }
    print(json.dumps(read))


class Pages:
    def __init__(self, url):
        self.url = url

    def bytes(self, path, body=None, **query):
        address = f"{self.url}{path}?{urlencode(query)}"
        data = None if body is None else json.dumps(body).encode()
        request = Request(address, data, {"Content-Type": "application/json"})
        with urlopen(request, timeout=DEADLINE) as answer:
            return answer.read()

    def json(self, path, body=None, **query):
        return json.loads(self.bytes(path, body, **query))

    def active(self):
        listing = self.json("plugins_listing")
        return sorted(name for name, plugin in listing.items() if plugin["enabled"])

    def are_complete(self, runs, projected):
        """Whether every run is read to its end, which the run's end in HParams is."""
        over = [
            session["name"]
            for group in self.session_groups()
            for session in group["sessions"]
            if session["status"] != "STATUS_UNKNOWN"
        ]
        return sorted(over) == runs and (not projected or "projector" in self.active())

    def series(self, plugin, read):
        tags = self.json(f"plugin/{plugin}/tags")
        return {run: {tag: read(run, tag) for tag in own} for run, own in tags.items()}

    def text(self, run, tag):
        events = self.json("plugin/text/text", run=run, tag=tag)
        return [[event["step"], event["text"]] for event in events]

    def pr_curves(self, run, tag):
        return self.json("plugin/pr_curves/pr_curves", run=run, tag=tag)[run]

    def images(self, run, tag):
        """For each picture its step, and width and height as they stand in the PNG file."""
        events = self.json("plugin/images/images", run=run, tag=tag, sample=0)
        return [[event["step"], *size_of_png(self.image(event))] for event in events]

    def image(self, event):
        with urlopen(f"{self.url}plugin/images/individualImage?{event['query']}") as answer:
            return answer.read()

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
        """For each tensor its heading, words and vectors."""
        info = self.json("plugin/projector/info", run=run)
        return {entry["tensorName"]: self.tensor(run, entry) for entry in info["embeddings"]}

    def tensor(self, run, entry):
        name = entry["tensorName"]
        content = self.bytes("plugin/projector/tensor", run=run, name=name)
        numbers = struct.unpack(f"<{len(content) // 4}f", content)
        rows, columns = entry["tensorShape"]
        vectors = [numbers[row * columns : (row + 1) * columns] for row in range(rows)]
        lines = self.bytes("plugin/projector/metadata", run=run, name=name).decode().splitlines()
        heading, *words = [line.split("\t") for line in lines]
        return {"heading": heading, "words": words, "vectors": vectors}


def size_of_png(content):
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", content[16:24])


def embeddings(run):
    """The word vectors of a run's best checkpoint."""
    file = run / "best/model.safetensors"
    weights = load_file(file) if file.exists() else {}
    return {name: w.tolist() for name, w in weights.items() if name.endswith("embedding.weight")}


if __name__ == "__main__":
    main(sys.argv[1])
