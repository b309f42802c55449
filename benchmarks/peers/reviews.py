"""Read the reviews written by `lstmtext data split`, and encode them like lstmtext."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

PAD, START, OOV = 0, 1, 2
FIRST_WORD = 4  # id 3 is unused, as in keras.datasets.imdb

LABELS = {"negative": 0, "positive": 1}

# Keras's filter characters, all of which become spaces.
FILTERS = str.maketrans(dict.fromkeys('!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n', " "))

TAG = re.compile(r"<[A-Za-z/!][^<>]{0,198}>")
# Letters and digits, joined by single apostrophes; or any other single character except a space.
WORD_OR_MARK = re.compile(r"[^\W_]+(?:'[^\W_]+)*|[^\w\s]|_")
CONTRACTIONS = {"s", "re", "ve", "ll", "d", "m"}


def read(folder: Path, part: str) -> tuple[list[str], np.ndarray]:
    """Return the texts of "train", "validation" or "test", and the class index of each."""
    with open(folder / f"{part}.jsonl", encoding="utf-8") as lines:
        examples = [json.loads(line) for line in lines]
    labels = np.array([LABELS[example["label"]] for example in examples])
    return [example["text"] for example in examples], labels


def keras_tokens(text: str) -> list[str]:
    """Split a text like Keras's tokenizer: lower-case words without punctuation."""
    return [token for token in text.lower().translate(FILTERS).split(" ") if token]


def word_tokens(text: str) -> list[str]:
    """Split a text into lower-case words and punctuation, without HTML tags; "don't" gives "do", "n't"."""
    tokens = []
    for token in WORD_OR_MARK.findall(TAG.sub(" ", text).replace("’", "'").lower()):
        stem, apostrophe, suffix = token.rpartition("'")
        if suffix == "t" and len(stem) > 1 and stem.endswith("n"):
            tokens += [stem[:-1], "n't"]
        elif stem and suffix in CONTRACTIONS:
            tokens += [stem, apostrophe + suffix]
        else:
            tokens.append(token)
    return tokens


def build_vocabulary(texts: Iterable[list[str]], size: int) -> dict[str, int]:
    """Assign ids below `size` to words by falling count; ties go to the word seen first."""
    counts = Counter(token for text in texts for token in text)
    ranked = counts.most_common(size - FIRST_WORD)
    return {word: FIRST_WORD + rank for rank, (word, _) in enumerate(ranked)}


def encode(tokens: list[str], vocabulary: dict[str, int], start: bool) -> list[int]:
    """Return the ids of a text, at least one."""
    ids = [START] if start else []
    ids += [vocabulary.get(token, OOV) for token in tokens]
    return ids or [OOV]


def pad_front(texts: list[list[int]], length: int, keep: str) -> np.ndarray:
    """Return all texts as an array, padded in front or cut to their "first" or "last" ids."""
    padded = np.full((len(texts), length), PAD, dtype=np.int32)
    for row, ids in zip(padded, texts):
        ids = ids[:length] if keep == "first" else ids[-length:]
        row[length - len(ids) :] = ids
    return padded
