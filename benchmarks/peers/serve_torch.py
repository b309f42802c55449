"""A server as in PyTorch tutorials: FastAPI, one text at a time in a thread pool.

    python benchmarks/peers/serve_torch.py EXPORTED PORT THREADS

EXPORTED is a directory written by `lstmtext export` for a run of configs/imdb_lstm.yaml. POST /predict has the
same requests and responses as lstmtext's own server.
"""

import sys
from pathlib import Path

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

import reviews
from speed_worker import SYSTEMS, cut

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import torch_model


class Question(BaseModel):
    text: str


def application(folder: Path) -> FastAPI:
    model = torch_model.load(folder)
    [own], labels = model.settings["inputs"], model.settings["labels"]
    vocabulary = {word: number for number, word in enumerate(own["vocabulary"])}
    system = SYSTEMS["imdb"]
    app = FastAPI()

    @app.post("/predict")
    def predict(question: Question) -> dict:
        ids = reviews.encode(reviews.word_tokens(question.text), vocabulary, start=False)
        ids = cut(ids, system.length, system.keep)
        with torch.inference_mode():
            _, probabilities = model(torch.tensor([ids]), torch.tensor([len(ids)]))
        classes = sorted(
            (
                {"label": label, "probability": probability}
                for label, probability in zip(labels, probabilities[0].tolist())
            ),
            key=lambda one: -one["probability"],
        )
        return {**classes[0], "classes": classes}

    return app


def main() -> None:
    folder, port, threads = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    uvicorn.run(application(folder), host="127.0.0.1", port=port, log_level="error")


if __name__ == "__main__":
    main()
