"""Train a network in Keras for speed.py, an epoch per line of standard input."""

import os
import time

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

import reviews
from speed_worker import SYSTEMS, System, load, parser, serve


class Clock(keras.callbacks.Callback):
    """Measure an epoch from before its first batch is formed, without the set-up of fit."""

    seconds = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.seconds = time.perf_counter() - self.began


def build(system: System) -> keras.Model:
    """Return the network. Mean pooling masks the padding; the last state has no mask."""
    lstm: keras.Layer = keras.layers.LSTM(system.units, return_sequences=system.mean)
    if system.bidirectional:
        lstm = keras.layers.Bidirectional(lstm)
    layers = [
        keras.Input((system.length,), dtype="int32"),
        keras.layers.Embedding(system.words, system.embedding, mask_zero=system.mean),
    ]
    if system.word_dropout:
        layers.append(keras.layers.Dropout(system.word_dropout, noise_shape=(None, None, 1)))
    layers.append(lstm)
    if system.mean:
        layers.append(keras.layers.GlobalAveragePooling1D())
    if system.dropout:
        layers.append(keras.layers.Dropout(system.dropout))
    softmax = system.classes > 1
    layers.append(keras.layers.Dense(system.classes, "softmax" if softmax else "sigmoid"))
    model = keras.Sequential(layers)
    if system.optimizer == "adadelta":
        optimizer = keras.optimizers.Adadelta(system.learning_rate, rho=0.95, epsilon=1e-6)
    else:
        optimizer = keras.optimizers.Adam(system.learning_rate, global_clipnorm=system.clip)
    loss = "sparse_categorical_crossentropy" if softmax else "binary_crossentropy"
    model.compile(optimizer=optimizer, loss=loss)
    return model


def main() -> None:
    arguments = parser(__doc__).parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    tf.config.threading.set_inter_op_parallelism_threads(arguments.threads)

    system = SYSTEMS[arguments.system]
    texts, labels = load(arguments.folder, system, "train")
    if system.keras_tokens:
        padded = reviews.pad_front(texts, system.length, system.keep)
    else:
        padded = np.full((len(texts), system.length), reviews.PAD, dtype=np.int32)
        for row, ids in zip(padded, texts):
            row[: len(ids)] = ids
    keras.utils.set_random_seed(1)
    model = build(system)
    targets = labels.astype(np.float32 if system.classes == 1 else np.int32)
    clock = Clock()

    def epoch() -> dict[str, float]:
        fit = model.fit(padded, targets, batch_size=system.batch, callbacks=[clock], verbose=0)
        return {"seconds": clock.seconds, "loss": fit.history["loss"][0]}

    ready = {
        "tokens": sum(map(len, texts)),
        "parameters": model.count_params(),
        "versions": {"keras": keras.__version__, "tensorflow": tf.__version__},
    }
    serve(ready, {"epoch": epoch})


if __name__ == "__main__":
    main()
