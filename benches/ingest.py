#!/usr/bin/env python3
"""Rows a second and memory of `ingest` beside `datasets.map` with the fast tokenizer of transformers: T5's tokenizer, the same file.

    pip install torch transformers datasets numpy
    cargo build --locked
    python benches/ingest.py target/debug/spot --data FOLDER [--rows 10000 100000 500000] [--rounds 3]

`FOLDER` has `t5-tokenizer/tokenizer.json` and `glue/MNLI/dev_matched_9815.jsonl`, whose rows are repeated, each with a number of its own.
Both sides read one Parquet file, put hypothesis and premise into T5's template, encode inputs and label words with eos, cut at 512 and
32 ids, and write the result to disk; spot also writes the data card (duplicates, lengths, majority, bag of words). Whole processes are
timed, imports included; `datasets.map` runs with as many processes as there are cores, batches of 1,000, and an empty cache. Memory is
the peak of all processes of a side together (proportional set size), read five times a second.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Beside this file lies one with the name of a library.
sys.path.pop(0)

MANIFEST = """\
version: 1
name: rows
stages:
  backbone: {kind: backbone, from: {path: model}}
  data:
    kind: ingest
    backbone: backbone
    from:
      table:
        train: rows.parquet
        validation: few.parquet
        name: mnli
        template: "hypothesis: {hypothesis} premise: {premise}"
        label: label
        labels: [entailment, neutral, contradiction]
"""

MAP = """\
import os, sys
from datasets import load_dataset
from transformers import PreTrainedTokenizerFast
tokenizer = PreTrainedTokenizerFast(tokenizer_file="model/tokenizer.json", eos_token="</s>", unk_token="<unk>", pad_token="<pad>")
words = ["entailment", "neutral", "contradiction"]
def encode(rows):
    texts = [f"mnli hypothesis: {h} premise: {p}" for h, p in zip(rows["hypothesis"], rows["premise"])]
    inputs = tokenizer(texts, truncation=True, max_length=512).input_ids
    targets = tokenizer([words[label] for label in rows["label"]], truncation=True, max_length=32).input_ids
    return {"input": texts, "input_ids": inputs, "target_ids": targets}
rows = load_dataset("parquet", data_files="rows.parquet", split="train", cache_dir="cache-map")
done = rows.map(encode, batched=True, batch_size=1000, num_proc=os.cpu_count())
print(len(done))
"""


def prepare(folder, data):
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(vocab_size=32128, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, feed_forward_proj="gated-gelu",
                      tie_word_embeddings=False, decoder_start_token_id=0)
    torch.manual_seed(0)
    T5ForConditionalGeneration(config).save_pretrained(folder / "model")
    shutil.copy(data / "t5-tokenizer" / "tokenizer.json", folder / "model")
    (folder / "pipelines").mkdir()
    (folder / "pipelines" / "rows.yaml").write_text(MANIFEST)
    (folder / "map.py").write_text(MAP)


def write(folder, data, count, name):
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open(data / "glue" / "MNLI" / "dev_matched_9815.jsonl", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    labels = {"entailment": 0, "neutral": 1, "contradiction": 2}
    known = [row for row in rows if str(row.get("label", row.get("gold_label"))) in {*labels, "0", "1", "2"}]
    label = lambda row: labels.get(row.get("label", row.get("gold_label")), row.get("label"))
    of = lambda at: known[at % len(known)]
    table = pa.table({
        "premise": [f"{of(at)['premise']} {at}" for at in range(count)],
        "hypothesis": [of(at)["hypothesis"] for at in range(count)],
        "label": [int(label(of(at))) for at in range(count)],
    })
    pq.write_table(table, folder / name)


def tree(process):
    """A process and all below it."""
    found, open_ = [], [process]
    while open_:
        at = open_.pop()
        found.append(at)
        try:
            open_ += [int(child) for task in os.listdir(f"/proc/{at}/task")
                      for child in Path(f"/proc/{at}/task/{task}/children").read_text().split()]
        except OSError:
            pass
    return found


def watched(command, folder):
    """Seconds, CPU seconds and peak memory in MB of a command and what it starts."""
    start, before = time.monotonic(), os.times()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    peak = 0
    while process.poll() is None:
        total = 0
        for at in tree(process.pid):
            try:
                total += int(re.search(r"Pss:\s+(\d+)", Path(f"/proc/{at}/smaps_rollup").read_text())[1])
            except (OSError, TypeError):
                pass
        peak = max(peak, total)
        time.sleep(0.2)
    err = process.communicate()[1]
    assert process.returncode == 0, err
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.monotonic() - start, cpu, peak * 1024 / 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="the built `spot`")
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 500_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--alone", action="store_true", help="without `datasets.map`")
    args = parser.parse_args()
    program = os.path.abspath(args.program)
    os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    import datasets, transformers

    processor = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    print(f"{time.strftime('%Y-%m-%d')}, {processor[1] if processor else '?'}, {os.cpu_count()} cores; datasets {datasets.__version__}, "
          f"transformers {transformers.__version__}; load {Path('/proc/loadavg').read_text().split()[0]}")
    print(f"{'rows':>10} {'':10} {'seconds':>8} {'rows/s':>9} {'CPU s':>8} {'peak MB':>8}")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        prepare(folder, args.data)
        write(folder, args.data, 100, "few.parquet")
        for count in args.rows:
            write(folder, args.data, count, "rows.parquet")
            sides = {"spot": [program, "run", "rows", "--device", "cpu"], "map": [sys.executable, "map.py"]}
            runs = {name: [] for name in sides}
            for _ in range(args.rounds):
                for name, command in sides.items():
                    if name == "map" and args.alone:
                        continue
                    for left in ("cache", "cache-map"):
                        shutil.rmtree(folder / left, ignore_errors=True)
                    runs[name].append(watched(command, folder))
            for name, of in runs.items():
                if of:
                    seconds, cpu, peak = (statistics.median(values) for values in zip(*of))
                    print(f"{count:10,} {name:10} {seconds:8.1f} {count / seconds:9,.0f} {cpu:8.1f} {peak:8,.0f}", flush=True)


if __name__ == "__main__":
    main()
