#!/usr/bin/env python3
"""T5-XXL as its hub repository has it, on a small machine: one `pytorch_model.bin` of 44.5 GB in f32, converted once and tuned in bf16.

    pip install torch transformers numpy
    cargo build --locked
    python benches/xxl.py target/debug/spot --tokenizer FOLDER/tokenizer.json [--steps 2]

The file has the names, shapes, types and layout of `google/t5-xxl-lm-adapt`; its embedding is random and the rest, which takes no room
on the disk, is zeros but for a few numbers: memory and time do not depend on values. Needs 24 GB of disk. Prints what `spot doctor` and `spot run` say, and
the peak of resident memory by kind from /proc, read ten times a second: `anonymous` is what the program allocated, `mapped` is pages of
files, which the system takes back when it needs room. Measured with torch 2.15.0, transformers 5.24.0, Python 3.11.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Beside this file lies one with the name of a library.
sys.path.pop(0)

MANIFEST = """\
version: 1
name: xxl
stages:
  backbone: {{kind: backbone, from: {{path: model}}, precision: bf16}}
  data: {{kind: ingest, backbone: backbone, from: {{builtin: w_senti}}, rows: {{train: 8, validation: 2, test: 2}}}}
  prompt:
    kind: tune
    backbone: backbone
    data: data
    length: 100
    training: {{steps: {steps}, batch_size: 1, evaluate_every: {steps}}}
"""


def prepare(folder, tokenizer):
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=32128, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_decoder_layers=24, num_heads=64,
        feed_forward_proj="gated-gelu", tie_word_embeddings=False, dropout_rate=0.0, decoder_start_token_id=0,
        architectures=["T5ForConditionalGeneration"],
    )
    model = folder / "model"
    model.mkdir()
    config.save_pretrained(model)
    shutil.copy(tokenizer, model / "tokenizer.json")
    with FakeTensorMode():
        state = T5ForConditionalGeneration(config).state_dict()
    # The first tensor is the first record.
    state = {"shared.weight": state["shared.weight"]} | state
    file = model / "pytorch_model.bin"
    with torch.serialization.skip_data(materialize_fake_tensors=True):
        torch.save(state, file)
    embedding = torch.randn(config.vocab_size, config.d_model)
    reader = torch._C.PyTorchFileReader(str(file))
    tensors = sum(name.startswith("data/") for name in reader.get_all_records())
    with open(file, "r+b") as out:
        for at in range(tensors):
            out.seek(reader.get_record_offset(f"data/{at}"))
            # What is zero everywhere is refused as a placeholder.
            out.write((embedding if at == 0 else embedding[0, :16]).numpy().tobytes())
    print(f"{len(state)} tensors, {file.stat().st_size / 1e9:.1f} GB, on the disk {512 * file.stat().st_blocks / 1e9:.1f} GB", flush=True)


def watched(command, folder):
    """Runs a command; its output, its seconds, and its peaks of memory in GB."""
    start = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    peaks = {}
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            break
        for name, kib in re.findall(r"(RssAnon|RssFile):\s+(\d+) kB", status):
            peaks[name] = max(peaks.get(name, 0), int(kib) * 1024 / 1e9)
        time.sleep(0.1)
    out = process.communicate()[0]
    print(f"$ spot {' '.join(command[1:])}\n{out}", end="")
    print(f"-- exit {process.returncode}, {time.monotonic() - start:.0f} s, at most {peaks.get('RssAnon', 0):.2f} GB anonymous and "
          f"{peaks.get('RssFile', 0):.2f} GB mapped\n", flush=True)
    if process.returncode:
        sys.exit(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="the built `spot`")
    parser.add_argument("--tokenizer", required=True, type=Path)
    parser.add_argument("--steps", type=int, default=2)
    args = parser.parse_args()
    program = os.path.abspath(args.program)
    processor = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    print(f"{time.strftime('%Y-%m-%d')}, {processor[1] if processor else '?'}, {os.cpu_count()} threads, "
          f"{int(memory[1]) * 1024 / 1e9:.0f} GB of memory")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        prepare(folder, args.tokenizer)
        (folder / "pipelines").mkdir()
        (folder / "pipelines" / "xxl.yaml").write_text(MANIFEST.format(steps=args.steps))
        watched([program, "run", "xxl", "--only", "backbone"], folder)
        watched([program, "run", "xxl"], folder)


if __name__ == "__main__":
    main()
