#!/usr/bin/env python3
"""Rows a second of `spot predict` beside transformers + PEFT and CTranslate2: one T5, one prompt, one text, two threads, f32.

    pip install torch transformers peft ctranslate2 safetensors numpy
    cargo build --locked
    python benches/predict.py target/debug/spot --data FOLDER [--rows 400] [--rounds 5] [--threads 2]

`FOLDER` has `t5-tokenizer/tokenizer.json`, `glue/SST-2/dev.tsv` and `glue/MNLI/dev_matched_9815.jsonl`. Measured with torch 2.15.0,
transformers 5.24.0, peft 0.21.2, ctranslate2 4.8.5, safetensors 0.8, numpy 2.4, Python 3.11.

The model has the shapes of T5 v1.1-small and random weights, saved by transformers. Its prompt of 100 rows is made of the
embeddings of 100 ids. So CTranslate2, which has no soft prompts, does the same work on inputs with these ids in front, and all sides
have to give the same numbers. The head has no row for eos nor for ids that are no text: such an id has the logit 0 and is never the
likeliest, so that every answer has 16 ids on every side; the program stops where an answer has not.

Every round runs each side once, as a process of its own, one after the other. A side is timed from texts to answers, its
tokenizer included, its imports and the loading of the model not: for spot that is the pace that it prints at the end. The second
table has what processes take from their beginning to their end, and the CPU time of a text: for spot that of the process less that
of one that answers the first text alone. All see texts in the order of the file, and each may order them by length.
- transformers + PEFT: `inference_mode`; batches of texts of like length, of the size that is fastest of 8, 16, 32 and 64 on some 96
  of the texts, found before the rounds; labels are scored from one pass of the encoder in the faster of two ways: all labels in one
  batch of the decoder, or one after the other with common keys and values of the encoder's rows; answers by `generate` and its cache.
- CTranslate2: `score_batch` and `translate_batch`, which order texts by length themselves, with the fastest of the same sizes.
  `score_batch` takes pairs of text and label, so its encoder reads a text once for each label.

Rates count on an idle machine only; the load is printed. Where others compute, threads of PEFT and CTranslate2 that wait for each
other take the time that these need, less so with `OMP_WAIT_POLICY=PASSIVE`.
"""

import argparse
import itertools
import json
import os
import platform
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Beside this file lies one with the name of a library.
sys.path.pop(0)

PROMPT, ANSWER = 100, 16
SIZES = (8, 16, 32, 64)
# Texts on which the fastest size is looked for.
TRIED = 96
# Ids below 32000 that are no text, and the first id that is none again.
CONTROL, TEXTS = 3, 32000
SST2, MNLI = ["negative", "positive"], ["entailment", "neutral", "contradiction"]
# Name, texts, labels; free answers without.
CASES = {
    "sst2-labels": ("SST-2, 2 labels", "sst2", SST2),
    "mnli-labels": ("MNLI, 3 labels", "mnli", MNLI),
    "sst2-answers": (f"SST-2, answers of {ANSWER} ids", "sst2", None),
    "mnli-answers": (f"MNLI, answers of {ANSWER} ids", "mnli", None),
}
SIDES = ("spot", "PEFT", "CTranslate2")


def prepare(folder, data, rows):
    """The model, its prompt, the texts, and the model as CTranslate2 has it."""
    import numpy as np
    import torch
    from ctranslate2.converters.transformers import T5Loader, TransformersConverter
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    config = T5Config(
        vocab_size=32128, d_model=512, d_kv=64, d_ff=1024, num_layers=8, num_decoder_layers=8, num_heads=6,
        feed_forward_proj="gated-gelu", tie_word_embeddings=False, dropout_rate=0.0, decoder_start_token_id=0,
        architectures=["T5ForConditionalGeneration"],
    )
    t5 = T5ForConditionalGeneration(config)
    with torch.no_grad():
        # Logits as far apart as those of a trained model, and not the 23 times that of the usual random head.
        head = torch.randn(config.vocab_size, config.d_model) * config.d_model**-0.5
        head[:CONTROL] = 0
        head[TEXTS:] = 0
        # In transformers 5 the head may be the embedding until it has a tensor of its own.
        t5.lm_head.weight = torch.nn.Parameter(head)
    t5.save_pretrained(folder / "model")
    shutil.copy(data / "t5-tokenizer" / "tokenizer.json", folder / "model")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "model" / "tokenizer.json"), eos_token="</s>", unk_token="<unk>", pad_token="<pad>",
    )
    ids = torch.randint(CONTROL, TEXTS, (PROMPT,))
    np.save(folder / "prompt.npy", t5.shared.weight[ids].detach().numpy())
    (folder / "prompt.json").write_text(json.dumps(tokenizer.convert_ids_to_tokens(ids.tolist())))
    with open(data / "glue" / "SST-2" / "dev.tsv", encoding="utf-8") as file:
        sst2 = [line.split("\t")[0].strip() for line in itertools.islice(file, 1, rows + 1)]
    with open(data / "glue" / "MNLI" / "dev_matched_9815.jsonl", encoding="utf-8") as file:
        mnli = [json.loads(line) for line in itertools.islice(file, rows)]
    texts = {
        "sst2": [f"sst2 sentence: {text}" for text in sst2],
        "mnli": [f"mnli hypothesis: {row['hypothesis']} premise: {row['premise']}".strip() for row in mnli],
    }
    for name, lines in texts.items():
        assert len(lines) == rows and not any("\n" in line or "\r" in line for line in lines), name
        (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        lengths = sorted(len(tokenizer(line).input_ids) for line in lines)
        print(f"{name}: {rows} texts of {lengths[0]} to {lengths[-1]} ids, median {lengths[rows // 2]}, "
              f"mean {statistics.mean(lengths):.1f}", flush=True)
    # transformers 5 calls every T5 tied, which ctranslate2 4.8.5 takes for the scaled outputs of T5 v1.0.
    specify = T5Loader.get_model_spec

    def specify_unscaled(loader, model):
        model.config.tie_word_embeddings = model.config.scale_decoder_outputs
        return specify(loader, model)

    T5Loader.get_model_spec = specify_unscaled
    # The converter reads tokenizers as transformers saves them.
    saved = folder / "saved"
    shutil.copytree(folder / "model", saved)
    tokenizer.save_pretrained(saved)
    TransformersConverter(str(saved)).convert(str(folder / "ctranslate2"))


def texts_of(folder, case):
    return (folder / f"{CASES[case][1]}.txt").read_text(encoding="utf-8").splitlines()


def timed(settings, setting, texts, run):
    """A run over all texts in the given setting, which is found if it is not given: `run` takes texts and a setting."""
    some = sorted(texts[:: max(1, len(texts) // TRIED)], key=len)

    def seconds(setting):
        start = time.perf_counter()
        run(some, settings[setting])
        return time.perf_counter() - start

    # The first run of a shape takes longer.
    run(some[len(some) // 2 :][:8], next(iter(settings.values())))
    if setting is None:
        return min(settings, key=lambda setting: min(seconds(setting) for _ in range(2)))
    run(some[len(some) // 2 :][:64], settings[setting])
    start, cpu = time.perf_counter(), time.process_time()
    found = run(texts, settings[setting])
    return {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu, "found": found}


def peft_side(folder, case, setting):
    import numpy as np
    import torch
    from peft import PromptTuningConfig, TaskType, get_peft_model
    from tokenizers import Tokenizer
    from transformers import DynamicCache, EncoderDecoderCache, T5ForConditionalGeneration
    from transformers.modeling_outputs import BaseModelOutput

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    labels = CASES[case][2]
    tokenizer = Tokenizer.from_file(str(folder / "model" / "tokenizer.json"))
    t5 = T5ForConditionalGeneration.from_pretrained(folder / "model", dtype=torch.float32)
    tuning = PromptTuningConfig(task_type=TaskType.SEQ_2_SEQ_LM, num_virtual_tokens=PROMPT)
    peft = get_peft_model(t5, tuning).eval()
    prompt = torch.from_numpy(np.load(folder / "prompt.npy"))
    with torch.no_grad():
        peft.prompt_encoder["default"].embedding.weight[:PROMPT] = prompt

    def padded(rows, filler):
        longest = max(map(len, rows))
        return torch.tensor([row + [filler] * (longest - len(row)) for row in rows])

    def encoded(rows):
        """As `forward` and `generate` of PEFT put the prompt in front."""
        ids = padded(rows, 0)
        mask = torch.ones(len(rows), PROMPT + ids.shape[1], dtype=torch.long)
        for row, text in zip(mask, rows):
            row[PROMPT + len(text) :] = 0
        own = peft.get_prompt(len(rows))[:, :PROMPT]
        return torch.cat([own, peft.word_embeddings(ids)], 1), mask

    def likelihoods(logits, targets):
        of_ids = torch.log_softmax(logits, -1).gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)
        return (of_ids * (targets >= 0)).sum(-1)

    def together(rows, targets):
        embeds, mask = encoded(rows)
        memory = t5.encoder(inputs_embeds=embeds, attention_mask=mask).last_hidden_state
        count = len(targets)
        wanted = targets.repeat(len(rows), 1)
        starts = torch.cat([torch.zeros(len(wanted), 1, dtype=torch.long), wanted[:, :-1].clamp(min=0)], 1)
        logits = t5(
            encoder_outputs=BaseModelOutput(memory.repeat_interleave(count, 0)),
            attention_mask=mask.repeat_interleave(count, 0), decoder_input_ids=starts, use_cache=False,
        ).logits
        return likelihoods(logits, wanted).view(-1, count)

    def in_turn(rows, targets):
        embeds, mask = encoded(rows)
        memory = BaseModelOutput(t5.encoder(inputs_embeds=embeds, attention_mask=mask).last_hidden_state)
        common = DynamicCache()
        scores = []
        for target in targets:
            target = target[target >= 0].repeat(len(rows), 1)
            starts = torch.cat([torch.zeros(len(rows), 1, dtype=torch.long), target[:, :-1]], 1)
            # What a cache has of the encoder's rows is not computed again.
            past = EncoderDecoderCache(DynamicCache(), common)
            logits = t5(
                encoder_outputs=memory, attention_mask=mask, decoder_input_ids=starts, past_key_values=past, use_cache=True,
            ).logits
            scores.append(likelihoods(logits, target))
        return torch.stack(scores, 1)

    def answers(texts, setting):
        size, score = setting
        ids = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
        order = sorted(range(len(ids)), key=lambda at: len(ids[at]))
        found = [None] * len(ids)
        targets = labels and padded([tokenizer.encode(label).ids for label in labels], -1)
        for start in range(0, len(ids), size):
            own = order[start : start + size]
            rows = [ids[at] for at in own]
            if labels:
                given = score(rows, targets).tolist()
            else:
                padding = padded(rows, 0)
                mask = padded([[1] * len(row) for row in rows], 0)
                out = peft.generate(
                    input_ids=padding, attention_mask=mask, max_new_tokens=ANSWER, do_sample=False, num_beams=1,
                )
                out = [row[1:] for row in out.tolist()]
                assert all(len(row) == ANSWER and 1 not in row for row in out), "an answer has not 16 ids"
                given = tokenizer.decode_batch(out)
            for at, one in zip(own, given):
                found[at] = one
        return found

    if labels:
        ways = {"all labels at once": together, "labels in turn": in_turn}
        settings = {f"batches of {size}, {way}": (size, ways[way]) for size in SIZES for way in ways}
    else:
        settings = {f"batches of {size}": (size, None) for size in SIZES}
    with torch.inference_mode():
        return timed(settings, setting, texts_of(folder, case), answers)


def ctranslate2_side(folder, case, setting):
    import ctranslate2
    from tokenizers import Tokenizer

    labels = CASES[case][2]
    tokenizer = Tokenizer.from_file(str(folder / "model" / "tokenizer.json"))
    threads = int(os.environ["OMP_NUM_THREADS"])
    translator = ctranslate2.Translator(
        str(folder / "ctranslate2"), device="cpu", compute_type="float32", inter_threads=1, intra_threads=threads,
    )
    prompt = json.loads((folder / "prompt.json").read_text())

    def answers(texts, size):
        inputs = [prompt + encoding.tokens for encoding in tokenizer.encode_batch(texts)]
        if labels:
            # The end of a target is scored too.
            targets = [tokenizer.encode(label).tokens[:-1] for label in labels]
            results = translator.score_batch(
                [row for row in inputs for _ in targets], targets * len(inputs), max_batch_size=size, max_input_length=0,
            )
            scores = [sum(result.log_probs) for result in results]
            return [scores[at : at + len(targets)] for at in range(0, len(scores), len(targets))]
        results = translator.translate_batch(
            inputs, max_batch_size=size, beam_size=1, max_decoding_length=ANSWER, max_input_length=0, return_scores=False,
        )
        out = [[tokenizer.token_to_id(token) for token in result.hypotheses[0]] for result in results]
        assert all(len(row) == ANSWER for row in out), "an answer has not 16 ids"
        return tokenizer.decode_batch(out)

    return timed({f"batches of {size}": size for size in SIZES}, setting, texts_of(folder, case), answers)


def spot_side(program, folder, case, file=None):
    labels = CASES[case][2]
    command = [
        program, "predict", file or f"{CASES[case][1]}.txt", "--complete", "--prompt", "prompt.npy", "--backbone", "model",
        "--threads", os.environ["OMP_NUM_THREADS"], "--device", "cpu",
    ]
    command += ["--labels", ",".join(labels)] if labels else ["--decoding", "greedy", "--answer-length", str(ANSWER)]
    used = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    before = used()
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder)
    cpu = used() - before
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    # Of what is printed at the end the number of rows in a second has the fewest digits, so it is not used.
    pace = re.search(r"(\d[\d,]*) rows in (?:(\d+) min )?([\d.]+) s,", done.stderr)
    assert pace and int(pace[1].replace(",", "")) == len(rows), done.stderr
    seconds = 60 * int(pace[2] or 0) + float(pace[3])
    if labels:
        found = [[row["log_likelihood"][label] for label in labels] for row in rows]
    else:
        cut = f"{len(rows)} of {len(rows)} answers are as long as they may be"
        assert cut in done.stderr, f"an answer has not {ANSWER} ids: {done.stderr}"
        found = [row["answer"] for row in rows]
    return {"seconds": seconds, "cpu": cpu, "found": found}


def process(name, folder, case, *setting):
    """What a side answers in a process of its own."""
    file = folder / "answer.json"
    subprocess.run([sys.executable, os.path.abspath(__file__), "--side", name, folder, case, file, *setting], check=True)
    return json.loads(file.read_text())


def side(name, program, folder, case, settings):
    start = time.perf_counter()
    answer = spot_side(program, folder, case) if name == "spot" else process(name, folder, case, settings[name])
    return answer | {"whole": time.perf_counter() - start}


def difference(ours, theirs):
    """Of log-likelihoods the greatest, of texts how many are equal."""
    if isinstance(ours[0], str):
        return f"{sum(map(str.__eq__, ours, theirs))} of {len(ours)} equal"
    return f"{max(abs(a - b) for ours, theirs in zip(ours, theirs) for a, b in zip(ours, theirs)):.1e}"


def load():
    return " ".join(Path("/proc/loadavg").read_text().split()[:2])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="the built `spot`")
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--rows", type=int, default=400, help="of each of the two tasks")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = os.environ["RAYON_NUM_THREADS"] = str(args.threads)
    quiet = {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "PYTHONWARNINGS": "ignore"}
    os.environ |= quiet | {"HF_HUB_OFFLINE": "1"}

    import ctranslate2, peft, torch, transformers

    processor = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    version = subprocess.run([args.program, "--version"], check=True, capture_output=True, text=True).stdout.strip()
    print(f"{time.strftime('%Y-%m-%d')}, {processor[1] if processor else platform.machine()}, {args.threads} threads; {version}, "
          f"torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}, "
          f"ctranslate2 {ctranslate2.__version__}, Python {platform.python_version()}")
    print(f"T5 v1.1-small, f32, prompt of {PROMPT}; {args.rows} texts, {args.rounds} rounds; load of the machine before it: {load()}")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        prepare(folder, args.data, args.rows)
        program = os.path.abspath(args.program)
        measured = {}
        for case in args.cases:
            runs = {name: [] for name in SIDES}
            settings = {name: process(name, folder, case) for name in SIDES[1:]}
            (folder / "first.txt").write_text(texts_of(folder, case)[0] + "\n", encoding="utf-8")
            first = statistics.median(spot_side(program, folder, case, "first.txt")["cpu"] for _ in range(3))
            for _ in range(args.rounds):
                for name in SIDES:
                    runs[name].append(side(name, program, folder, case, settings))
            for run in runs["spot"]:
                run["cpu"] = (run["cpu"] - first) / (args.rows - 1) * args.rows
            measured[case] = runs
            for name in SIDES:
                seconds = ", ".join(f"{run['seconds']:.2f}" for run in runs[name])
                with_ = f"; {settings[name]}" if name in settings else ""
                print(f"{case}, {name}: {seconds} s{with_}; load {load()}", flush=True)
    middle = lambda runs, what: statistics.median(run[what] for run in runs)
    print("\nRows a second, medians; `x` is spot's rate over theirs. CTranslate2 has no soft prompts: its inputs have 100 ids in "
          "their place. The last two columns: the greatest difference of a log-likelihood from spot's, or how many answers are the same")
    print(f"{'':26} {'spot':>8} {'PEFT':>8} {'x':>6} {'CTranslate2':>12} {'x':>6}   {'beside PEFT':>16} {'beside CTranslate2':>19}")
    for case, runs in measured.items():
        ours, peft_rate, other = (args.rows / middle(runs[name], "seconds") for name in SIDES)
        apart = [difference(runs["spot"][0]["found"], runs[name][0]["found"]) for name in SIDES[1:]]
        print(f"{CASES[case][0]:26} {ours:8.1f} {peft_rate:8.1f} {ours / peft_rate:6.2f} {other:12.1f} {ours / other:6.2f}"
              f"   {apart[0]:>16} {apart[1]:>19}")
    print("\nSeconds of whole processes (imports, loading, and with PEFT and CTranslate2 a run of up to 64 texts before), and CPU "
          "time of a text in ms, medians")
    for case, runs in measured.items():
        whole = ", ".join(f"{name} {middle(runs[name], 'whole'):.2f}" for name in SIDES)
        cpu = ", ".join(f"{name} {1000 * middle(runs[name], 'cpu') / args.rows:.1f}" for name in SIDES)
        print(f"{CASES[case][0]:26} {whole}; CPU {cpu}")
    print(f"load of the machine after it: {load()}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        _, _, name, folder, case, file, *setting = sys.argv
        run = {"PEFT": peft_side, "CTranslate2": ctranslate2_side}[name]
        Path(file).write_text(json.dumps(run(Path(folder), case, *setting or [None])))
    else:
        main()
