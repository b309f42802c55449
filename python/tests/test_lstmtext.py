"""Tests of the installed package: `python python/tests/test_lstmtext.py`, in a virtual environment with
the wheel, scikit-learn and pandas."""

from __future__ import annotations

import json
import os
import pickle
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lstmtext
import numpy as np
import pandas
from lstmtext import LstmTextClassifier
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

WORDS = {"pos": ["superb", "brilliant", "moving"], "neg": ["dull", "awful", "waste"], "mixed": ["fine", "long"]}
FAST = {"train.epochs": 3, "model.embedding.size": 8, "model.lstm.units": 8, "train.learning_rate": 0.02}


def examples(count: int, labels: list[str], seed: int = 1) -> tuple[list[str], list[str]]:
    chance = random.Random(seed)
    chosen = [labels[index % len(labels)] for index in range(count)]
    filler = ["the", "film", "was", "and", "a"]
    texts = [
        " ".join(chance.sample(filler, 4) + chance.choices(WORDS[label], k=2)) for label in chosen
    ]
    return texts, chosen


def lstmtext_program(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [lstmtext.program(), *arguments], cwd=folder, capture_output=True, text=True, check=True
    )


class Models(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = Path(cls.temporary.name)
        texts, labels = examples(200, ["neg", "pos"])
        pandas.DataFrame({"text": texts, "label": labels}).to_csv(
            cls.folder / "train.csv", index=False
        )
        sets = [f"--set={field}={value}" for field, value in FAST.items()]
        lstmtext_program("train", "train.csv", "--out", "run", *sets, folder=cls.folder)
        cls.texts = ["a superb film", "what an awful waste", "", "ein Text 映画 \U0001f3ac"]
        cls.model = lstmtext.load(cls.folder / "run")

    @classmethod
    def tearDownClass(cls) -> None:
        cls.temporary.cleanup()

    def test_predictions_are_those_of_the_program(self) -> None:
        (self.folder / "texts.jsonl").write_text(
            "".join(json.dumps({"text": text}) + "\n" for text in self.texts)
        )
        arguments = ["predict", "run", "--file", "texts.jsonl", "--format", "jsonl"]
        printed = lstmtext_program(*arguments, folder=self.folder).stdout.splitlines()
        printed = [json.loads(line) for line in printed]
        self.assertEqual(self.model.predict(self.texts), [row["label"] for row in printed])
        self.assertEqual(self.model.predict(self.texts[:2]), ["pos", "neg"])
        probabilities = self.model.predict_proba(self.texts)
        self.assertEqual(probabilities.dtype, np.float64)
        self.assertEqual(probabilities.shape, (4, 2))
        np.testing.assert_allclose(probabilities.sum(axis=1), 1)
        top = [row["probability"] for row in printed]
        np.testing.assert_allclose(probabilities.max(axis=1), top, rtol=1e-12)

    def test_texts_have_several_forms(self) -> None:
        expected = self.model.predict(self.texts)
        frame = pandas.DataFrame({"id": range(4), "text": self.texts})
        for form in [
            tuple(self.texts), np.array(self.texts), np.array(self.texts, dtype=object), frame["text"],
            frame, {"text": self.texts}, iter(self.texts),
        ]:
            self.assertEqual(self.model.predict(form), expected)
        self.assertEqual(self.model.predict([]), [])
        self.assertEqual(self.model.predict_proba([]).shape, (0, 2))
        self.assertEqual(self.model.embed([]).shape[0], 0)

    def test_wrong_texts_are_errors(self) -> None:
        with self.assertRaisesRegex(TypeError, r"pass a list: \[text\]"):
            self.model.predict("one text")
        with self.assertRaisesRegex(TypeError, "text 1 is nan of type float, not a string"):
            self.model.predict(["a", float("nan")])
        with self.assertRaisesRegex(ValueError, "no column text"):
            self.model.predict(pandas.DataFrame({"review": self.texts}))
        with self.assertRaises(ValueError):
            self.model.predict(self.texts, batch_size=0)

    def test_missing_and_damaged_models_are_errors(self) -> None:
        with self.assertRaises(FileNotFoundError):
            lstmtext.load(self.folder / "missing")
        damaged = self.folder / "damaged"
        subprocess.run(["cp", "-r", self.folder / "run" / "best", damaged], check=True)
        file = damaged / "model.safetensors"
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        with self.assertRaises((ValueError, RuntimeError)):
            lstmtext.load(damaged)

    def test_vectors_explanations_and_tokens(self) -> None:
        vectors = self.model.embed(self.texts)
        self.assertEqual(vectors.dtype, np.float32)
        self.assertEqual(vectors.shape[0], 4)
        lstmtext_program(
            "embed", "run", "--file", "texts.jsonl", "--to", "vectors.npy", folder=self.written_texts()
        )
        np.testing.assert_array_equal(np.load(self.folder / "vectors.npy"), vectors)
        explanation = self.model.explain("a superb film")
        self.assertEqual(explanation["label"], "pos")
        words = [word["word"] for word in explanation["inputs"][0]["words"]]
        self.assertEqual(words, ["a", "superb", "film"])
        other = self.model.explain("a superb film", label="neg", method="leave-one-out")
        self.assertEqual((other["label"], other["method"]), ("neg", "leave-one-out"))
        with self.assertRaisesRegex(ValueError, 'no label "good"; it has: neg, pos'):
            self.model.explain("a superb film", label="good")
        with self.assertRaisesRegex(ValueError, "leave-one-out"):
            self.model.explain("a superb film", method="lime")
        self.assertEqual(self.model.tokenize(["A superb film!"]), [["a", "superb", "film", "!"]])

    def written_texts(self) -> Path:
        lines = [json.dumps({"text": text}) + "\n" for text in self.texts]
        (self.folder / "texts.jsonl").write_text("".join(lines))
        return self.folder

    def test_properties(self) -> None:
        self.assertEqual(self.model.labels, ["neg", "pos"])
        self.assertEqual(self.model.columns, ["text"])
        self.assertFalse(self.model.multi_label)
        self.assertIn("run", repr(self.model))
        self.assertRegex(lstmtext.__version__, r"^\d+\.\d+\.\d+$")
        again = pickle.loads(pickle.dumps(self.model))
        self.assertEqual(again.predict(self.texts), self.model.predict(self.texts))

    def test_threads_share_a_model_and_python_goes_on(self) -> None:
        texts, _ = examples(20_000, ["neg", "pos"], 2)
        expected = self.model.predict(texts)
        with ThreadPoolExecutor(4) as pool:
            for predicted in pool.map(self.model.predict, [texts] * 4):
                self.assertEqual(predicted, expected)
        # While a prediction computes, another thread of Python runs.
        ticks, done = 0, threading.Event()

        def tick() -> None:
            nonlocal ticks
            while not done.is_set():
                ticks += 1
                time.sleep(0.001)

        thread = threading.Thread(target=tick)
        thread.start()
        self.model._model.probabilities([texts * 5], 256)
        done.set()
        thread.join()
        self.assertGreater(ticks, 5)

    def test_the_number_of_threads_and_batches_does_not_change_a_bit(self) -> None:
        texts, _ = examples(1_000, ["neg", "pos"], 3)
        expected = self.model.predict_proba(texts)
        one = lstmtext.load(self.folder / "run", threads=1)
        np.testing.assert_array_equal(one.predict_proba(texts), expected)
        np.testing.assert_array_equal(self.model.predict_proba(texts), expected)

    def test_a_forked_process_predicts(self) -> None:
        expected = self.model.predict(self.texts)
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            same = self.model.predict(self.texts) == expected
            os.write(write, b"same" if same else b"other")
            os._exit(0)
        os.close(write)
        self.assertEqual(os.read(read, 10), b"same")
        os.waitpid(child, 0)

    def test_the_module_is_the_program(self) -> None:
        version = subprocess.run(
            [sys.executable, "-m", "lstmtext", "--version"], capture_output=True, text=True, check=True
        ).stdout
        self.assertEqual(version, f"lstmtext {lstmtext.__version__}\n")


class Classifiers(unittest.TestCase):
    def test_it_learns_and_predicts(self) -> None:
        texts, labels = examples(200, ["neg", "pos"])
        classifier = LstmTextClassifier(settings=FAST, seed=1)
        self.assertIs(classifier.fit(texts, labels), classifier)
        self.assertEqual(classifier.classes_.tolist(), ["neg", "pos"])
        self.assertGreater(classifier.score(*examples(100, ["neg", "pos"], 9)), 0.95)
        self.assertEqual(classifier.predict_proba(texts[:3]).shape, (3, 2))
        self.assertIn("validation", classifier.summary_)
        # The same seed gives the same model, another one another.
        again = clone(classifier).fit(texts, labels)
        np.testing.assert_array_equal(again.predict_proba(texts), classifier.predict_proba(texts))
        other = clone(classifier).set_params(seed=2).fit(texts, labels)
        self.assertTrue((other.predict_proba(texts) != classifier.predict_proba(texts)).any())

    def test_it_works_in_scikit_learn(self) -> None:
        texts, labels = examples(150, ["neg", "pos", "mixed"])
        classifier = LstmTextClassifier(settings=FAST, seed=1)
        scores = cross_val_score(classifier, texts, labels, cv=3)
        self.assertGreater(scores.mean(), 0.9)
        pipeline = make_pipeline(FunctionTransformer(lambda X: [x.upper() for x in X]), classifier)
        self.assertGreater(pipeline.fit(texts, labels).score(texts, labels), 0.9)
        grid = {"settings": [FAST, FAST | {"train.epochs": 1}]}
        search = GridSearchCV(classifier, grid, cv=2, n_jobs=2).fit(texts, labels)
        self.assertEqual(search.best_estimator_.classes_.tolist(), ["mixed", "neg", "pos"])

    def test_labels_keep_their_types(self) -> None:
        texts, labels = examples(120, ["neg", "pos"])
        frame = pandas.DataFrame({"label": labels})
        named = LstmTextClassifier(settings=FAST, seed=1).fit(pandas.DataFrame(texts), frame)
        self.assertEqual(named.classes_.tolist(), ["neg", "pos"])
        for pair in [[False, True], [3, 12], np.array([-1, 1])]:
            y = np.array([pair[int(label == "pos")] for label in labels])
            classifier = LstmTextClassifier(settings=FAST, seed=1).fit(np.array(texts), y)
            self.assertEqual(classifier.classes_.dtype, y.dtype)
            self.assertEqual(classifier.predict(texts).dtype, y.dtype)
            self.assertGreater((classifier.predict(texts) == y).mean(), 0.9)

    def test_several_labels(self) -> None:
        texts, labels = examples(160, ["neg", "pos"])
        sets = [[label, "film"] if index % 4 else [label] for index, label in enumerate(labels)]
        texts = [text + (" screen" if "film" in row else "") for text, row in zip(texts, sets)]
        settings = FAST | {"train.epochs": 6}
        classifier = LstmTextClassifier(settings=settings, seed=1).fit(texts, sets)
        self.assertEqual(classifier.classes_.tolist(), ["film", "neg", "pos"])
        self.assertEqual(classifier.predict(texts).shape, (160, 3))
        self.assertGreater(classifier.score(texts, sets), 0.7)
        matrix = np.array([["film" in row, "neg" in row, "pos" in row] for row in sets]).astype(int)
        of_matrix = LstmTextClassifier(settings=settings, seed=1).fit(texts, matrix)
        self.assertEqual(of_matrix.classes_.tolist(), [0, 1, 2])
        self.assertGreater(of_matrix.score(texts, matrix), 0.7)
        # What it predicts is a form of the same labels.
        self.assertEqual(classifier.score(texts, classifier.predict(texts)), 1)
        of_frame = LstmTextClassifier(settings=settings, seed=1).fit(texts, pandas.DataFrame(matrix))
        np.testing.assert_array_equal(of_frame.predict(texts), of_matrix.predict(texts))
        with self.assertRaisesRegex(ValueError, "no label play"):
            classifier.score(texts[:1], [["play", "neg"]])

    def test_several_text_columns(self) -> None:
        texts, labels = examples(160, ["neg", "pos"])
        frame = pandas.DataFrame({"title": ["film"] * 160, "label": texts})
        config = {"inputs": {"title": {}, "label": {}}, "model": {"lstm": {"units": 4}}}
        settings = {"train.epochs": 3, "train.learning_rate": 0.02}
        classifier = LstmTextClassifier(config, settings=settings, seed=1).fit(frame, labels)
        self.assertGreater(classifier.score(frame, labels), 0.9)

    def test_a_fitted_classifier_can_be_pickled(self) -> None:
        texts, labels = examples(120, ["neg", "pos"])
        classifier = LstmTextClassifier(settings=FAST, seed=1).fit(texts, labels)
        expected = classifier.predict_proba(texts)
        files = classifier.__getstate__()["_files"]
        self.assertIn("model.safetensors", files)
        self.assertNotIn("optimizer.safetensors", files)
        saved = pickle.dumps(classifier)
        del classifier
        again = pickle.loads(saved)
        np.testing.assert_array_equal(again.predict_proba(texts), expected)
        self.assertEqual(again.model_.explain(texts[0])["label"], again.predict(texts[:1])[0])
        again = pickle.loads(pickle.dumps(again))
        np.testing.assert_array_equal(again.predict_proba(texts), expected)

    def test_the_run_can_be_kept(self) -> None:
        texts, labels = examples(120, ["neg", "pos"])
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            classifier = LstmTextClassifier(settings=FAST, run_directory=run).fit(texts, labels)
            self.assertTrue((run / "metrics.jsonl").exists())
            self.assertEqual(lstmtext.load(run).predict(texts), classifier.predict(texts).tolist())
            with self.assertRaisesRegex(Exception, "run"):
                classifier.fit(texts, labels)

    def test_errors_are_those_of_the_program(self) -> None:
        texts, labels = examples(60, ["neg", "pos"])
        with self.assertRaisesRegex(ValueError, "train.epochs"):
            LstmTextClassifier(settings={"train.epochs": -1}).fit(texts, labels)
        with self.assertRaisesRegex(ValueError, "data.train is set by fit"):
            LstmTextClassifier(settings={"data.train": "x.csv"}).fit(texts, labels)
        with self.assertRaisesRegex(ValueError, "60 texts, but y has 59 labels"):
            LstmTextClassifier().fit(texts, labels[:-1])
        with self.assertRaisesRegex(ValueError, "missing label"):
            LstmTextClassifier().fit(texts, labels[:-1] + [None])
        with self.assertRaisesRegex(ValueError, "data.labels|label"):
            LstmTextClassifier(settings=FAST).fit(texts, ["one"] * 60)


if __name__ == "__main__":
    unittest.main()
