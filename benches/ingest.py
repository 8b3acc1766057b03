#!/usr/bin/env python3
"""Rows a second and memory of `ingest` beside `datasets.map` with the fast tokenizer of transformers: T5's tokenizer, the same file.

    pip install transformers datasets numpy
    cargo build --locked
    python benches/ingest.py target/debug/spot --data FOLDER [--rows 10000 100000 500000] [--rounds 3]
        [--layout parquet|csv|jsonl|jsonl.gz] [--split-off] [--alone] [--c4 SHARDS]

`FOLDER` has `t5-tokenizer/tokenizer.json` and `glue/MNLI/dev_matched_9815.jsonl`, whose rows are repeated, each with a number of its own.
Both sides read one Parquet file, put hypothesis and premise into T5's template, encode inputs and label words with eos, cut at 512 and
32 ids, and write the result to disk; spot also writes the data card (duplicates, lengths, majority, bag of words). Whole processes are
timed, imports included; `datasets.map` runs with as many processes as there are cores, batches of 1,000, and an empty cache. Memory is
the peak of all processes of a side together (proportional set size), read five times a second. `--alone` is without `datasets.map`.

`--layout` writes the rows in another layout, which only spot reads; with `--split-off` validation rows are split off. `--c4` is
another thing: as many documents as rows, in so many files that are called as those of C4 (`c4-train.00000-of-01024.json.gz`), which
`from: {text: …}` cuts into windows of 128 ids.
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


TEXT = """\
version: 1
name: rows
stages:
  backbone: {kind: backbone, from: {path: model}}
  data: {kind: ingest, backbone: backbone, from: {text: {files: FILES, window: 128, name: c4}}, input_length: 128, target_length: 128}
"""


def model(folder, vocabulary=32128, width=8):
    """A T5 v1.1 that is as small as can be, for its tokenizer."""
    import numpy as np

    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({
        "model_type": "t5", "vocab_size": vocabulary, "d_model": width, "d_kv": 4, "d_ff": width, "num_layers": 1, "num_decoder_layers": 1,
        "num_heads": 2, "relative_attention_num_buckets": 32, "relative_attention_max_distance": 128, "layer_norm_epsilon": 1e-6, "dropout_rate": 0.1, "initializer_factor": 1.0, "is_encoder_decoder": True, "use_cache": True,
        "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}))
    shapes = {"shared.weight": (vocabulary, width), "lm_head.weight": (vocabulary, width)}
    for stack, attentions in (("encoder", ["SelfAttention"]), ("decoder", ["SelfAttention", "EncDecAttention"])):
        shapes[f"{stack}.final_layer_norm.weight"] = (width,)
        shapes[f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"] = (32, 2)
        for at, name in enumerate(attentions):
            layer = f"{stack}.block.0.layer.{at}"
            shapes[f"{layer}.layer_norm.weight"] = (width,)
            shapes |= {f"{layer}.{name}.{matrix}.weight": (8, width) for matrix in "qkvo"}
        layer = f"{stack}.block.0.layer.{len(attentions)}"
        shapes[f"{layer}.layer_norm.weight"] = (width,)
        shapes |= {f"{layer}.DenseReluDense.{matrix}.weight": (width, width) for matrix in ("wi_0", "wi_1", "wo")}
    header, end = {}, 0
    for name, shape in shapes.items():
        size = 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    values = np.random.default_rng(0).standard_normal(end // 4).astype("<f4")
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + values.tobytes())


def prepare(folder, data):
    model(folder / "model")
    shutil.copy(data / "t5-tokenizer" / "tokenizer.json", folder / "model")
    (folder / "pipelines").mkdir()
    (folder / "map.py").write_text(MAP)


def manifest(folder, layout, split_off):
    text = MANIFEST.replace("rows.parquet", f"rows.{layout}").replace("few.parquet", f"few.{layout}")
    if split_off:
        text = "".join(line for line in text.splitlines(True) if "validation:" not in line)
    (folder / "pipelines" / "rows.yaml").write_text(text)


def c4(folder, data, documents, shards):
    """Documents of some sentences each, in files that are called and look as those of C4."""
    import gzip

    with open(data / "glue" / "MNLI" / "dev_matched_9815.jsonl", encoding="utf-8") as file:
        sentences = [text for line in file for row in [json.loads(line)] for text in (row["premise"], row["hypothesis"])]
    names = [f"c4-train.{at:05}-of-{shards:05}.json.gz" for at in range(shards)]
    for at, name in enumerate(names):
        with gzip.open(folder / name, "wt", encoding="utf-8", compresslevel=1) as file:
            for number in range(at, documents, shards):
                some = [sentences[(number * 17 + i * i) % len(sentences)] for i in range(12 + number % 9)]
                url = f"https://example.org/{number}"
                file.write(json.dumps({"text": f"{number}. " + "\n".join(some), "timestamp": "2019-04-25T12:57:54Z", "url": url}) + "\n")
    (folder / "pipelines" / "rows.yaml").write_text(TEXT.replace("FILES", json.dumps(names)))
    return sum((folder / name).stat().st_size for name in names)


def write(folder, data, count, name):
    import csv
    import gzip

    import pyarrow as pa
    import pyarrow.parquet as pq

    with open(data / "glue" / "MNLI" / "dev_matched_9815.jsonl", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    labels = {"entailment": 0, "neutral": 1, "contradiction": 2}
    known = [row for row in rows if str(row.get("label", row.get("gold_label"))) in {*labels, "0", "1", "2"}]
    label = lambda row: labels.get(row.get("label", row.get("gold_label")), row.get("label"))
    of = lambda at: known[at % len(known)]
    names = ["premise", "hypothesis", "label"]
    row = lambda at: (f"{of(at)['premise']} {at}", of(at)["hypothesis"], int(label(of(at))))
    if name.endswith(".parquet"):
        types = [pa.string(), pa.string(), pa.int64()]
        with pq.ParquetWriter(folder / name, pa.schema(list(zip(names, types)))) as writer:
            for start in range(0, count, 1 << 20):
                columns = zip(*map(row, range(start, min(count, start + (1 << 20)))))
                writer.write_table(pa.table([pa.array(column, kind) for column, kind in zip(columns, types)], names=names))
        return
    with (gzip.open if name.endswith(".gz") else open)(folder / name, "wt", encoding="utf-8", newline="") as file:
        if ".csv" in name:
            writer = csv.writer(file)
            writer.writerow(names)
            writer.writerows(map(row, range(count)))
        else:
            file.writelines(json.dumps(dict(zip(names, row(at)))) + "\n" for at in range(count))


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
    # Not a pipe, which a progress bar fills in some minutes.
    said = tempfile.TemporaryFile("w+")
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=said)
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
    said.seek(0)
    assert process.returncode == 0, said.read()
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.monotonic() - start, cpu, peak * 1024 / 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="the built `spot`")
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 500_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", help="where files are made; by default that of the system for them")
    parser.add_argument("--layout", default="parquet", help="ending of the file of rows")
    parser.add_argument("--split-off", action="store_true", help="without a file of validation rows")
    parser.add_argument("--alone", action="store_true", help="without `datasets.map`")
    parser.add_argument("--c4", type=int, metavar="SHARDS", help="documents in so many files instead")
    args = parser.parse_args()
    program = os.path.abspath(args.program)
    os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    versions = "" if args.alone or args.c4 else versions_of("datasets", "transformers")

    processor = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    print(f"{time.strftime('%Y-%m-%d')}, {processor[1] if processor else '?'}, {os.cpu_count()} cores{versions}; "
          f"load {Path('/proc/loadavg').read_text().split()[0]}")
    print(f"{'rows':>10} {'':10} {'seconds':>8} {'rows/s':>9} {'CPU s':>8} {'peak MB':>8}")
    sides = {"spot": [program, "run", "rows", "--device", "cpu"]}
    if not (args.alone or args.c4 or args.layout != "parquet"):
        sides["map"] = [sys.executable, "map.py"]
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        folder = Path(folder)
        prepare(folder, args.data)
        for count in args.rows:
            if args.c4:
                size = c4(folder, args.data, count, args.c4)
                print(f"{args.c4} files of {size / 1e6:,.0f} MB together")
            else:
                manifest(folder, args.layout, args.split_off)
                write(folder, args.data, 100, f"few.{args.layout}")
                write(folder, args.data, count, f"rows.{args.layout}")
            runs = {name: [] for name in sides}
            for _ in range(args.rounds):
                for name, command in sides.items():
                    for left in ("cache", "cache-map"):
                        shutil.rmtree(folder / left, ignore_errors=True)
                    runs[name].append(watched(command, folder))
            for name, of in runs.items():
                seconds, cpu, peak = (statistics.median(values) for values in zip(*of))
                print(f"{count:10,} {name:10} {seconds:8.1f} {count / seconds:9,.0f} {cpu:8.1f} {peak:8,.0f}", flush=True)


def versions_of(*names):
    import importlib.metadata

    return "".join(f"; {name} {importlib.metadata.version(name)}" for name in names)


if __name__ == "__main__":
    main()
