#!/usr/bin/env python3
"""Our prompt tuning beside PyTorch + PEFT: the same shapes, the same threads, random weights, in alternation.

    pip install torch transformers peft          # measured with torch 2.15, transformers 5.24, peft 0.21
    cargo bench --profile dev --no-run --bench tuning
    python benches/peft.py target/debug/deps/tuning-… [--data FOLDER] [--rounds 5] [--threads 2]

Every round runs each side once as a process of its own; the table gives medians over rounds and the ratio of medians.
`python benches/peft.py --gpu` times PEFT alone on the first GPU, T5 v1.1-base in bf16, eager and compiled; `benches/gpu.sh`
calls it.
`--data` is a folder with `glue/MNLI`, `glue/SST-2`, `glue/RTE` and `t5-tokenizer`; without it real text is left out.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time

# This file has the name of the library that it measures.
sys.path.pop(0)

BATCH = {"step": 16, "epoch": 32}


SMALL = dict(d_model=512, d_ff=1024, num_layers=8, num_decoder_layers=8, num_heads=6)
BASE = dict(d_model=768, d_ff=2048, num_layers=12, num_decoder_layers=12, num_heads=12)


def model(sizes=SMALL):
    """T5 v1.1 with random weights and a prompt of 100, without dropout, and the optimiser of its prompt."""
    import torch
    from peft import PromptTuningConfig, TaskType, get_peft_model
    from transformers import T5Config, T5ForConditionalGeneration

    if "RAYON_NUM_THREADS" in os.environ:
        torch.set_num_threads(int(os.environ["RAYON_NUM_THREADS"]))
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=32128, d_kv=64, feed_forward_proj="gated-gelu", tie_word_embeddings=False, dropout_rate=0.0,
        decoder_start_token_id=0, **sizes,
    )
    tuning = PromptTuningConfig(task_type=TaskType.SEQ_2_SEQ_LM, num_virtual_tokens=100)
    peft = get_peft_model(T5ForConditionalGeneration(config), tuning)
    peft.train()
    learned = [parameter for parameter in peft.parameters() if parameter.requires_grad]
    return peft, torch.optim.AdamW(learned, lr=0.3)


def learn(peft, optimizer, batch):
    peft(**batch).loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def peft_step(steps, precision):
    import torch

    peft, optimizer = model()
    if precision == "bf16":
        peft.to(torch.bfloat16)
    ids = torch.randint(2, 32128, (BATCH["step"], 128))
    batch = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "labels": torch.randint(2, 32128, (BATCH["step"], 8)),
    }
    learn(peft, optimizer, batch)
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        learn(peft, optimizer, batch)
        times.append(time.perf_counter() - start)
    return {"seconds": statistics.median(times), "peak_mib": peak()}


def peft_epoch(file):
    """One pass in the order of the file; every batch is padded to its longest text and its longest target."""
    import torch

    with open(file) as rows:
        rows = json.load(rows)
    peft, optimizer = model()

    def padded(rows, filler):
        longest = max(map(len, rows))
        return torch.tensor([row + [filler] * (longest - len(row)) for row in rows])

    def batch(start):
        some = rows[start : start + BATCH["epoch"]]
        inputs = [row["input"] for row in some]
        ones = [[1] * len(row) for row in inputs]
        targets = [row["target"] for row in some]
        return {"input_ids": padded(inputs, 0), "attention_mask": padded(ones, 0), "labels": padded(targets, -100)}

    learn(peft, optimizer, batch(0))
    start = time.perf_counter()
    for at in range(0, len(rows) - BATCH["epoch"] + 1, BATCH["epoch"]):
        learn(peft, optimizer, batch(at))
    return {"epoch": time.perf_counter() - start, "peak_mib": peak()}


def peft_gpu():
    """Prints what losses and prompt gradients of a step take: T5 v1.1-base, 32 texts of 512 tokens, targets of 8."""
    import peft
    import torch
    import transformers

    versions = f"torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}"
    print(f"PEFT, T5 v1.1-base, bf16, 32 x (100 + 512 -> 8), without the optimiser; {versions}", flush=True)
    for name in ("eager", "compiled"):
        tuned, _ = model(BASE)
        tuned = tuned.to("cuda", torch.bfloat16)
        forward = torch.compile(tuned) if name == "compiled" else tuned
        ids = torch.randint(2, 32128, (32, 512), device="cuda")
        labels = torch.randint(2, 32128, (32, 8), device="cuda")
        ones = torch.ones_like(ids)
        times = []
        for step in range(13):
            torch.cuda.synchronize()
            start = time.perf_counter()
            forward(input_ids=ids, attention_mask=ones, labels=labels).loss.backward()
            tuned.zero_grad()
            torch.cuda.synchronize()
            if step >= 3:
                times.append(time.perf_counter() - start)
        print(f"PEFT {name}: {1e3 * statistics.median(times):.1f} ms a step, "
              f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB", flush=True)


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def measure(command):
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(answer.stdout.strip().splitlines()[-1])


def compare(name, field, rounds, ours, theirs):
    """Runs both in turn; prints a row of the table and returns the median of our answers."""
    answers = [(measure(ours), measure(theirs)) for _ in range(rounds)]
    our, their = ([answer[side] for answer in answers] for side in (0, 1))
    median = lambda side, what: statistics.median(answer[what] for answer in side)
    print(
        f"{name:40} {median(our, field):9.3f} {median(their, field):9.3f} {median(our, field) / median(their, field):7.3f}"
        f" {median(our, 'peak_mib'):9.0f} {median(their, 'peak_mib'):9.0f}"
        f" {median(our, 'peak_mib') / median(their, 'peak_mib'):7.3f}",
        flush=True,
    )
    return our


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="the built bench `tuning`")
    parser.add_argument("--data")
    parser.add_argument("--rows", type=int, default=320, help="of each of the three tasks")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    os.environ["RAYON_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(args.threads)

    import peft, torch, transformers

    versions = f"torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}"
    print(f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, {args.threads} threads; {versions}; {args.rounds} rounds")
    print(f"{'':40} {'ours, s':>9} {'PEFT, s':>9} {'ratio':>7} {'MiB':>9} {'MiB':>9} {'ratio':>7}")
    this = [sys.executable, os.path.abspath(__file__)]
    ours, _ = (
        compare(
            f"step: small, 16 x (100 + 128 -> 8){name}", "seconds", args.rounds,
            [args.program, "step", "small", str(args.steps), precision],
            [*this, "--peft-step", str(args.steps), precision],
        )
        for precision, name in (("f32", ""), ("bf16", ", bf16"))
    )
    if args.data:
        with tempfile.TemporaryDirectory() as folder:
            file = os.path.join(folder, "rows.json")
            with open(file, "w") as out:
                subprocess.run([args.program, "rows", args.data, str(args.rows)], check=True, stdout=out)
            compare(
                "epoch: MNLI, SST-2, RTE, batch 32", "epoch", args.rounds,
                [args.program, "epoch", file], [*this, "--peft-epoch", file],
            )
    ceiling = statistics.median(measure([args.program, "ceiling"])["ceiling"] for _ in range(args.rounds))
    rate = statistics.median(answer["gflop_per_s"] for answer in ours)
    gflop = ours[0]["gflop"]
    print(f"step: {gflop:.0f} GFLOP, {rate:.1f} GFLOP/s; matrix products alone {ceiling:.1f}: {100 * rate / ceiling:.0f} %")
    # Model, runs and examples of each in a batch, steps.
    for model, runs, batch, steps in (
        *(("nano", 48, batch, 60 if batch < 32 else 10) for batch in (1, 2, 4, 32)),
        *(("small", 8, batch, 6) for batch in (1, 2, 4)),
    ):
        command = [args.program, "together", f"{model}{batch}", str(runs), str(steps)]
        answers = [measure(command) for _ in range(args.rounds)]
        speedup = statistics.median(answer["speedup"] for answer in answers)
        print(f"together: {runs} runs of {model}, batches of {batch}: {speedup:.2f} times the throughput of one after another")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peft-step"]:
        print(json.dumps(peft_step(int(sys.argv[2]), sys.argv[3])))
    elif sys.argv[1:2] == ["--peft-epoch"]:
        print(json.dumps(peft_epoch(sys.argv[2])))
    elif sys.argv[1:2] == ["--gpu"]:
        peft_gpu()
    else:
        main()
