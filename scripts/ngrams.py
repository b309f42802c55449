"""The n-grams of a text, for models in PyTorch and ONNX Runtime. Needs only Python's standard library.

`settings` is `ngrams` of an input in model.json.
"""

from functools import cache


def ngram_rows(words: list[str], settings: dict) -> list[int]:
    """Return the rows of the n-grams of a text in the table of weights."""
    buckets = settings["buckets"]
    rows, word_hashes = set(), [fnv1a(word) for word in words]
    for start in range(len(words)):
        mixed = 0
        for size, word in enumerate(word_hashes[start : start + max(settings["sizes"])], 1):
            mixed = splitmix64(mixed ^ word)
            if size in settings["sizes"]:
                rows.add(known(settings["hashes"]).get(mixed) if buckets is None else mixed % buckets)
    return sorted(rows - {None})


def padding_row(settings: dict) -> int:
    """Return the row of zeros, with which shorter lists are padded: the number of all other rows."""
    return settings["buckets"] or len(settings["hashes"]) // 16


@cache
def known(hashes: str) -> dict[int, int]:
    """Return the row of each known hash."""
    digits = [hashes[at : at + 16] for at in range(0, len(hashes), 16)]
    return {int(each, 16): row for row, each in enumerate(digits)}


BITS = 2**64 - 1


def fnv1a(word: str) -> int:
    """Return the 64-bit FNV-1a hash of a word in UTF-8."""
    value = 0xCBF29CE484222325
    for byte in word.encode():
        value = (value ^ byte) * 0x100000001B3 & BITS
    return value


def splitmix64(value: int) -> int:
    """Return one round of SplitMix64."""
    value = value + 0x9E3779B97F4A7C15 & BITS
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & BITS
    value = (value ^ value >> 27) * 0x94D049BB133111EB & BITS
    return value ^ value >> 31
