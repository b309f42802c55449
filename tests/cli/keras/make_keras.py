"""Write the expected values in this directory: python make_keras.py

Made with keras 3.15, tensorflow-cpu 2.21 and numpy. <case>.npz has the weights of a model in the
layout of `lstmtext import`. answers.json has what Keras computes from them: the outputs for some
texts, given as ids, and for one model also the results of return_sequences and return_state.
"""

import json
import os
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = ""

import keras
import numpy as np
from keras import layers

WORDS, SIZE, UNITS = 12, 4, 3
TEXTS = [[4], [5, 7, 4], [11, 2, 6, 6, 10, 9, 4, 8]]
HERE = Path(__file__).parent


def parts(case: str) -> list[tuple[str, layers.Layer]]:
    """Return the layers of a model with the names of their arrays."""
    embedding = ("embedding", layers.Embedding(WORDS, SIZE))
    match case:
        case "single":
            return [embedding, ("lstm", layers.LSTM(UNITS)), ("dense", layers.Dense(1, activation="sigmoid"))]
        case "stacked":
            lower = ("lstm", layers.LSTM(UNITS, return_sequences=True))
            upper = ("lstm_1", layers.LSTM(UNITS))
            return [embedding, lower, upper, ("dense", layers.Dense(3, activation="softmax"))]
        case "both":
            lstm = ("lstm", layers.Bidirectional(layers.LSTM(UNITS)))
            return [embedding, lstm, ("dense", layers.Dense(1, activation="sigmoid"))]
    raise ValueError(case)


def arrays(name: str, layer: layers.Layer) -> dict[str, np.ndarray]:
    """Return the weights of a layer under the names of `lstmtext import`."""
    weights = layer.get_weights()
    names = ["kernel", "recurrent_kernel", "bias"]
    if name == "embedding":
        return {"embedding/embeddings": weights[0]}
    if name == "dense":
        return dict(zip(["dense/kernel", "dense/bias"], weights, strict=True))
    backward = {f"{name}/backward/{part}": w for part, w in zip(names, weights[3:], strict=False)}
    return {f"{name}/{part}": w for part, w in zip(names, weights[:3], strict=True)} | backward


def main() -> None:
    generator = np.random.default_rng(7)
    answers = {"keras": keras.__version__, "texts": TEXTS, "outputs": {}}
    for case in ["single", "stacked", "both"]:
        named = parts(case)
        model = keras.Sequential([keras.Input((None,), dtype="int32")] + [layer for _, layer in named])
        for layer in model.layers:
            layer.set_weights([generator.normal(0, 0.7, w.shape) for w in layer.get_weights()])
        weights = {key: w for name, layer in named for key, w in arrays(name, layer).items()}
        np.savez(HERE / f"{case}.npz", **weights)
        outputs = [model.predict(np.array([ids]), verbose=0)[0].tolist() for ids in TEXTS]
        answers["outputs"][case] = outputs
        if case == "single":
            lstm = layers.LSTM(UNITS, return_sequences=True, return_state=True)
            ids = keras.Input((None,), dtype="int32")
            embedding = layers.Embedding(WORDS, SIZE)
            reader = keras.Model(ids, lstm(embedding(ids)))
            embedding.set_weights(model.layers[0].get_weights())
            lstm.set_weights(model.layers[1].get_weights())
            states = [reader.predict(np.array([ids]), verbose=0) for ids in TEXTS]
            answers["states"] = [
                {"states": s[0].tolist(), "h": h[0].tolist(), "c": c[0].tolist()} for s, h, c in states
            ]
    (HERE / "answers.json").write_text(json.dumps(answers) + "\n")


if __name__ == "__main__":
    main()
