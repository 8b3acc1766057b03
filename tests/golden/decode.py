"""Makes the golden files of beam search and of the likelihoods of labels with Hugging Face transformers on PyTorch.

    pip install torch transformers safetensors numpy
    python tests/golden/t5.py
    python tests/golden/decode.py

Reads the checkpoints that t5.py wrote, and writes decode.json beside each. Random weights seldom give the eos of the
configuration, so each model is decoded with further ids as eos too.
"""

import json
import pathlib
import platform

import numpy as np
import torch
import transformers
from transformers import T5ForConditionalGeneration

HERE = pathlib.Path(__file__).parent
VOCAB, WIDTH, PROMPT = 64, 16, 3
INPUT_LENGTHS = [41, 1, 17, 2, 9, 28]
LABEL_LENGTHS = [1, 2, 2, 3, 6]
LONGEST = 12
EOS = {"t5_v1_0": [1, 23], "t5_v1_1": [1, 16, 31]}
WIDTHS = [1, 2, 4]
PENALTIES = [0.0, 0.6, 1.0, 2.0]
VERSIONS = {
    "python": platform.python_version(),
    "torch": torch.__version__,
    "transformers": transformers.__version__,
    "numpy": np.__version__,
}


def padded(rows):
    """Ids and attention mask."""
    ids = torch.zeros((len(rows), max(map(len, rows))), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = 1
    return ids, mask


def encoder_inputs(t5, rows, prompt):
    """`prompt`, [P, E], in front of the embedded texts."""
    ids, mask = padded(rows)
    embeds = torch.cat([prompt.to(t5.dtype).expand(len(rows), -1, -1), t5.shared(ids)], 1)
    return {
        "inputs_embeds": embeds,
        "attention_mask": torch.cat([torch.ones(len(rows), len(prompt), dtype=torch.long), mask], 1),
        # transformers 5.24 makes the cache as long as the encoder, which fails on a deeper decoder.
        "use_cache": False,
    }


def rounded(x):
    return float(f"{x:.9g}")


def generate(t5, inputs, eos, beams, penalty, early):
    out = t5.generate(
        **inputs,
        max_new_tokens=LONGEST,
        do_sample=False,
        num_beams=beams,
        # With one beam there is nothing to penalise or to stop early.
        **({"length_penalty": penalty, "early_stopping": early} if beams > 1 else {}),
        eos_token_id=eos,
        output_scores=True,
        return_dict_in_generate=True,
    )
    # Without the start id, eos and padding.
    ids = [row[1:].tolist() for row in out.sequences]
    ids = [row[: row.index(eos)] if eos in row else row for row in ids]
    scores = [rounded(score) for score in out.sequences_scores.tolist()] if beams > 1 else None
    return ids, scores


def beams(t5, exact, rows, prompt, eos):
    cases = []
    settings = [(1, 1.0, False)]
    settings += [(w, p, e) for w in WIDTHS if w > 1 for p in PENALTIES for e in (False, True)]
    for width, penalty, early in settings:
        ids, scores = generate(t5, encoder_inputs(t5, rows, prompt), eos, width, penalty, early)
        # No choice hangs on the last bits of a logit.
        again, _ = generate(exact, encoder_inputs(exact, rows, prompt), eos, width, penalty, early)
        assert again == ids, (eos, width, penalty, early)
        cases.append({"width": width, "length_penalty": penalty, "early_stopping": early, "ids": ids, "scores": scores})
    return {"eos": eos, "cases": cases}


@torch.no_grad()
def losses(t5, rows, prompt, labels):
    """Cross-entropy summed over the tokens of each label, one example and one label at a time, [B, L]."""
    return [
        [
            rounded(t5(**encoder_inputs(t5, [row], prompt), labels=torch.tensor([label])).loss.item() * len(label))
            for label in labels
        ]
        for row in rows
    ]


def ragged(lengths, rng):
    """Random ids that end in eos."""
    return [rng.integers(3, VOCAB, length - 1).tolist() + [1] for length in lengths]


def write(name):
    rng = np.random.default_rng(20 if name == "t5_v1_1" else 21)
    load = lambda dtype: T5ForConditionalGeneration.from_pretrained(
        HERE / name, attn_implementation="eager", dtype=dtype
    ).eval()
    t5, exact = load(torch.float32), load(torch.float64)
    rows, labels = ragged(INPUT_LENGTHS, rng), ragged(LABEL_LENGTHS, rng)
    # 9 digits are all of an f32.
    prompt = [rounded(x) for x in rng.standard_normal(PROMPT * WIDTH).astype(np.float32).tolist()]
    full = torch.tensor(prompt, dtype=torch.float32).reshape(PROMPT, WIDTH)
    golden = {"made_by": "tests/golden/decode.py", "versions": VERSIONS, "longest": LONGEST}
    golden |= {"inputs": rows, "labels": labels, "prompt": prompt}
    for key, prompt in (("plain", full[:0]), ("prompted", full)):
        golden[key] = {
            "losses": losses(t5, rows, prompt, labels),
            "beams": [beams(t5, exact, rows, prompt, eos) for eos in EOS[name]],
        }
    text = json.dumps(golden, separators=(",", ":")).replace('{"width"', '\n{"width"').replace('"beams"', '\n"beams"')
    (HERE / name / "decode.json").write_text(text + "\n")
    for key in ("plain", "prompted"):
        for group in golden[key]["beams"]:
            answers = [json.dumps(case["ids"]) for case in group["cases"]]
            lengths = sorted({len(row) for case in group["cases"] for row in case["ids"]})
            print(name, key, group["eos"], f"{len(set(answers))} different answers in {len(answers)}", lengths)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in EOS:
        write(name)
