"""Writes tables/: one table in the files that pandas, pyarrow and Python make of it, and in expected.json what is in it.

    pip install pandas pyarrow
    python tests/golden/tables.py tests/golden/tables
"""

import csv
import gzip
import json
import pathlib
import platform
import sys
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

FOLDER = pathlib.Path(sys.argv[1])
FOLDER.mkdir(exist_ok=True)

COLUMNS = {
    "text": ["plain", 'say "no"', "a tab\tand\na line"],
    "i8": np.array([-1, 0, 127], np.int8),
    "u64": np.array([2**64 - 1, 2**64 - 2, 0], np.uint64),
    "f32": np.array([3.7, 0.1, np.nan], np.float32),
    "f64": [0.1, 2.0, np.nan],
    "yes": [True, False, True],
    "maybe": pd.array([True, None, False], "boolean"),
    "gaps": pd.array([1, None, -1], "Int64"),
    "category": pd.Categorical(["red", "blue", "red"]),
    "price": [Decimal("1.50"), Decimal("-0.05"), None],
    "many": [["a"], ["b", "c"], ["d"]],
    "nothing": [None, None, None],
}
FRAME = pd.DataFrame(COLUMNS)
# What a cell can be in a file of text.
PLAIN = ["text", "i8", "u64", "f32", "f64", "yes", "category", "price"]
# What JSON has a form for.
JSON = ["text", "i8", "u64", "f64", "yes", "maybe", "gaps", "many", "nothing"]
# Whole numbers and fractions that a 64-bit float or integer does not hold.
NUMBERS = [2**64 - 1, 2**64 - 2, -(2**63) - 1, 10**30, 0.1, 1e-7, 1.1, 100.0, 1e22]


def said(value):
    """A value as Python writes it; None if there is none."""
    if isinstance(value, (list, np.ndarray)):
        return [str(item) for item in value]
    return None if value is None or value is pd.NA or value != value else str(value)


def plain(value):
    """A value for Python's json."""
    if isinstance(value, (list, np.ndarray)):
        return [str(item) for item in value]
    if value is None or value is pd.NA or value != value:
        return None
    return value.item() if isinstance(value, np.generic) else value


def write(name, content):
    (FOLDER / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def main():
    # As pandas writes it, and as pyarrow does with every codec.
    FRAME.to_parquet(FOLDER / "pandas.parquet")
    table = pa.Table.from_pandas(FRAME, preserve_index=False).replace_schema_metadata(None)
    for name, kind in [("hidden_lists", pa.list_(pa.string())), ("hidden_truths", pa.bool_()), ("hidden_floats", pa.float32())]:
        table = table.append_column(name, pa.array([None] * len(FRAME), kind))
    for codec in ["none", "snappy", "gzip", "brotli", "lz4", "zstd"]:
        pq.write_table(table, FOLDER / f"{codec}.parquet", compression=codec)
    pq.write_table(table.slice(0, 0), FOLDER / "empty.parquet")
    FRAME[PLAIN].to_csv(FOLDER / "pandas.csv", index=False)
    FRAME[PLAIN].to_csv(FOLDER / "pandas.tsv", index=False, sep="\t")
    FRAME[PLAIN].to_csv(FOLDER / "quoted.tsv", index=False, sep="\t", quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    packed = {"method": "gzip", "mtime": 0}
    FRAME[PLAIN].to_csv(FOLDER / "pandas.csv.gz", index=False, compression=packed)
    rows = [{name: plain(value) for name, value in row.items()} for row in FRAME[JSON].astype(object).to_dict("records")]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    write("lines.jsonl", lines)
    write("array.json", json.dumps(rows))
    write("indented.json", json.dumps(rows, indent=2))
    write("objects.json", "\n".join(json.dumps(row, indent=1) for row in rows))
    write("lines.json.gz", gzip.compress(lines.encode(), mtime=0))
    write("numbers.jsonl", "".join(json.dumps({"number": number}) + "\n" for number in NUMBERS))
    expected = {
        "versions": {
            "python": platform.python_version(),
            "pandas": pd.__version__,
            "pyarrow": pa.__version__,
            "numpy": np.__version__,
        },
        "columns": {name: [said(value) for value in FRAME[name].array] for name in COLUMNS},
        "plain": PLAIN,
        "json": JSON,
        "numbers": [str(json.loads(json.dumps(number))) for number in NUMBERS],
    }
    write("expected.json", json.dumps(expected, indent=1) + "\n")


main()
