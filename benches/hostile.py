#!/usr/bin/env python3
"""What `ingest` says of files that are made to hurt, and the peak of its memory (largest resident set of the process).

    cargo build --locked
    python benches/hostile.py target/debug/spot

The files are those of the table in docs/data.md; tests/it/hostile.rs and tests/it/tables.rs check what is said of them. Nothing but Python's
standard library is needed.
"""

import gzip
import json
import os
import platform
import re
import sys
import tempfile
import time
from pathlib import Path

# Beside this file lies one with the name of a library.
sys.path.pop(0)

MANIFEST = """\
version: 1
name: it
stages:
  backbone: {kind: backbone, from: {builtin: nano}}
  data: {kind: ingest, backbone: backbone, from: FROM, target_length: 64}
"""
PRETRAIN = "version: 1\nname: it\nstages:\n  model: {kind: pretrain, corpus: [FILE]}\n"
TABLE = "{table: {train: FILE, name: x, template: '{text}', label: label, labels: [bad, good]}}"
MIB = 1 << 20


def packed(path, beginning, mebibytes=1200):
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(beginning.encode())
        for _ in range(mebibytes):
            file.write(b"x" * MIB)


def text(path, content):
    path.write_text(content)


def hollow(path):
    path.touch()
    os.truncate(path, (1 << 30) + 1)


def shards(folder, second):
    row = json.dumps({"text": "a", "label": "good"}) + "\n"
    for at in range(3):
        content = second if at == 1 else row
        if content:
            text(folder / f"train-{at:05}-of-00003.jsonl", content * 30)


def nested(opening, closing):
    return f'{{"text": {opening * 100_000}1{closing * 100_000}, "label": 1}}\n'


WIDE = "".join(f"c{i}," for i in range(1_000_000))
OBJECT = "".join(f'"c{i}":1,' for i in range(1_000_000))
SHARDS = TABLE.replace("FILE", "train-*.jsonl")
FILES = "{files: {format: FORMAT, train: FILE}}"

# What it is, the file, what writes it, the source.
CASES = [
    ("a bomb of gzip around Parquet", "bomb.parquet.gz", lambda p: packed(p, "PAR1"), TABLE),
    ("around JSON in an array", "bomb.json.gz", lambda p: packed(p, '["'), TABLE),
    ("around a file of SQuAD", "bomb.json.gz", lambda p: packed(p, '{"data": ["'), FILES.replace("FORMAT", "squad")),
    ("a line of 1.2 GB, CSV", "line.csv.gz", lambda p: packed(p, "text,label\n"), TABLE),
    ("JSON lines", "line.jsonl.gz", lambda p: packed(p, '{"text": "a", "label": 1}\n{"text": "'), TABLE),
    ("published TSV", "line.tsv.gz", lambda p: packed(p, "sentence\tlabel\nfine\t1\n"), FILES.replace("FORMAT", "glue/sst2")),
    ("text", "line.txt.gz", lambda p: packed(p, "a\nb\n"), "{text: {files: [FILE], window: 64}}"),
    ("10⁶ columns, CSV", "wide.csv", lambda p: text(p, f"{WIDE}text\n{',' * 1_000_000}\n"), TABLE),
    ("JSON lines", "wide.jsonl", lambda p: text(p, f'{{{OBJECT}"text":"x"}}\n'), TABLE),
    ("lists 10⁵ deep", "deep.jsonl", lambda p: text(p, nested("[", "]")), TABLE),
    ("objects 10⁵ deep", "deep.json", lambda p: text(p, nested('{"a":', "}")), TABLE),
    ("a second shard with other columns", "", lambda p: shards(p.parent, '{"txt": "a", "label": "good"}\n'), SHARDS),
    ("with numbers where words are", "", lambda p: shards(p.parent, '{"text": "a", "label": 1}\n'), SHARDS),
    ("a shard that is missing", "", lambda p: shards(p.parent, ""), SHARDS),
    ("1 GiB and a byte for a `query`", "rows.csv", hollow, TABLE.replace("name: x", "name: x, query: 'select * from rows'")),
    ("as a file of SQuAD", "dev.json", hollow, FILES.replace("FORMAT", "squad")),
    ("as the corpus of `pretrain`", "corpus.txt", hollow, ""),
]


def run(program, folder):
    out = os.open(folder / "out", os.O_WRONLY | os.O_CREAT)
    start = time.monotonic()
    child = os.posix_spawn(
        program,
        [program, "run", "it"],
        {**os.environ, "NO_COLOR": "1"},
        file_actions=[(os.POSIX_SPAWN_DUP2, out, 1), (os.POSIX_SPAWN_DUP2, out, 2)],
    )
    _, status, usage = os.wait4(child, 0)
    os.close(out)
    return os.waitstatus_to_exitcode(status), usage.ru_maxrss / 1024, time.monotonic() - start


def main():
    program = str(Path(sys.argv[1]).resolve())
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()).group(1)
    print(f"{time.strftime('%Y-%m-%d')}, {model}, {os.cpu_count()} cores; Python {platform.python_version()}")
    for name, file, write, source in CASES:
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            (folder / "pipelines").mkdir()
            write(folder / (file or "x"))
            manifest = MANIFEST.replace("FROM", source) if source else PRETRAIN
            text(folder / "pipelines/it.yaml", manifest.replace("FILE", file))
            os.chdir(folder)
            code, peak, seconds = run(program, folder)
            said = (folder / "out").read_text()
            error = next((line for line in said.splitlines() if "error" in line or "blocked" in line), said.strip())
            print(f"\n{name}: exit {code}, peak {peak:.0f} MiB, {seconds:.1f} s\n  {error.strip()[:300]}")
            os.chdir("/")


main()
