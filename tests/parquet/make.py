"""Writes the Parquet files of this directory with pyarrow 26.0.1."""

import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).parent


def write(name, columns, metadata=None, **options):
    table = pa.table(columns)
    pq.write_table(table.replace_schema_metadata(metadata), HERE / f"{name}.parquet", **options)


def hub(seed, rows):
    """Columns as the Hugging Face hub exports them: a ClassLabel is an integer whose names are in the metadata."""
    chance = random.Random(seed)
    labels = [row % 2 for row in range(rows)]
    words = [["neg", "pos"][label] for label in labels]
    texts = [f"n{chance.randrange(9)} {word}{chance.randrange(3)} n{chance.randrange(9)}" for word in words]
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    entities = pa.list_(pa.struct([("start", pa.int32()), ("type", pa.string())]))
    columns = {
        "idx": pa.array(range(rows), pa.int32()),
        "text": texts,
        "image": pa.array([{"bytes": b"\x89", "path": None}] * rows, image),
        "entities": pa.array([[{"start": 0, "type": "w"}], None] * (rows // 2), entities),
        "label": pa.array(labels, pa.int64()),
        "created": pa.array([1_700_000_000] * rows, pa.timestamp("s", tz="UTC")),
    }
    features = {"text": {"dtype": "string", "_type": "Value"}, "label": {"names": ["neg", "pos"], "_type": "ClassLabel"}}
    return columns, {"huggingface": json.dumps({"info": {"features": features}})}


for seed, part in enumerate(["train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"]):
    write(part, *hub(seed, 60), row_group_size=25)

write(
    "types",
    {
        "large": pa.array(["a", "b", None, "d"], pa.large_string()),
        "view": pa.array(["a", "b", "c", "d"], pa.string_view()),
        "dictionary": pa.array(["x", "y", "x", "y"]).dictionary_encode(),
        "integers": pa.array([1, 2, 1, 2], pa.uint8()).dictionary_encode(),
        "bool": [True, False, None, True],
        "int8": pa.array([-1, 1, 1, -1], pa.int8()),
        "double": [1.0, 2.0, 1.0, 2.5],
        "lists": [["x", "y"], ["x"], [], ["y"]],
        "fixed": pa.array([[1, 2]] * 4, pa.list_(pa.int32(), 2)),
        "struct": [{"a": 1}] * 4,
        "date": pa.array([1, 2, 3, 4], pa.date32()),
        "binary": pa.array([b"a"] * 4),
        "null": pa.nulls(4),
        "decimal": pa.array([1, 2, 3, 4], pa.decimal128(5, 2)),
    },
)

for codec in ["none", "snappy", "gzip", "zstd", "lz4", "brotli"]:
    write(codec, {"text": ["good film", "bad film"] * 20, "label": ["pos", "neg"] * 20}, compression=codec)
