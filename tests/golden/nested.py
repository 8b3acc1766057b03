"""Writes nested tables as pyarrow and Python make them, packed text tables, and in nested.json what is in them.

    pip install pyarrow
    python tests/golden/nested.py tests/golden/tables
"""

import bz2
import json
import lzma
import pathlib
import platform
import sys

import pyarrow as pa
import pyarrow.parquet as pq

FOLDER = pathlib.Path(sys.argv[1])

ROWS = [
    {
        "id": "a",
        "options": ["red", "blue", "green"],
        "votes": [3, 0, -1],
        "answers": {"text": ["Paris", "the city"], "answer_start": [5, 17]},
        "turns": [{"who": "A", "says": "hi"}, {"who": "B", "says": None}],
    },
    {
        "id": "b",
        "options": ["é", ""],
        "votes": [],
        "answers": {"text": [], "answer_start": []},
        "turns": [{"who": "C", "says": "so"}],
    },
    {"id": "c", "options": None, "votes": None, "answers": None, "turns": None},
]
TABLE = pa.Table.from_pylist(ROWS)

# What a template gets, by what it asks for.
PARTS = {
    "options[0]": [row["options"][0] if row["options"] else "" for row in ROWS],
    "len(options)": [str(len(row["options"])) if row["options"] is not None else "" for row in ROWS],
    'options|join(", ")': [", ".join(row["options"]) if row["options"] else "" for row in ROWS],
    'votes|join(" ")': [" ".join(map(str, row["votes"])) if row["votes"] else "" for row in ROWS],
    "len(answers.text)": [str(len(row["answers"]["text"])) if row["answers"] else "" for row in ROWS],
    "turns[0].who": [row["turns"][0]["who"] if row["turns"] else "" for row in ROWS],
}


def main():
    pq.write_table(TABLE, FOLDER / "nested.parquet", compression="snappy")
    with pa.OSFile(str(FOLDER / "nested.arrow"), "wb") as out, pa.ipc.new_file(out, TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=2)
    # As `datasets` caches them: a stream without a footer, here with wide offsets as in its newer caches.
    wide = TABLE.cast(pa.schema([
        ("id", pa.large_string()),
        ("options", pa.large_list(pa.large_string())),
        ("votes", pa.large_list(pa.int32())),
        ("answers", TABLE.schema.field("answers").type),
        ("turns", TABLE.schema.field("turns").type),
    ]))
    with pa.OSFile(str(FOLDER / "stream.arrow"), "wb") as out, pa.ipc.new_stream(out, wide.schema) as writer:
        writer.write_table(wide)
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.OSFile(str(FOLDER / "packed.arrow"), "wb") as out, pa.ipc.new_file(out, TABLE.schema, options=options) as writer:
        writer.write_table(TABLE)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
    (FOLDER / "nested.jsonl.bz2").write_bytes(bz2.compress(lines))
    (FOLDER / "nested.jsonl.xz").write_bytes(lzma.compress(lines))
    said = {"versions": {"python": platform.python_version(), "pyarrow": pa.__version__}, "parts": PARTS}
    (FOLDER / "nested.json").write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


main()
