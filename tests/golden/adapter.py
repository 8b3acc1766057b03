"""What PEFT saves for a prompt of 3 rows on a T5 of width 8, and a check that it loads what spot writes.

    python tests/golden/adapter.py                    writes tests/golden/adapter/, and adapter_bf16/ and adapter_f16/, of models
                                                      in half precision whose second submodule has other rows; rows.npy there is
                                                      what PEFT puts in front of a text, as f32
    python tests/golden/adapter.py check FOLDER       loads an adapter for such a model and compares it with tests/golden/adapter/

Made with torch 2.15.0, transformers 5.24.0, peft 0.21.2, numpy 2.
"""

import shutil
import sys
from pathlib import Path

import numpy
import torch
from peft import PeftModel, PromptTuningConfig, TaskType, get_peft_model
from transformers import T5Config, T5ForConditionalGeneration

GOLDEN = Path(__file__).parent / "adapter"
ROWS, WIDTH = 3, 8


def model():
    torch.manual_seed(0)
    config = T5Config(vocab_size=32, d_model=WIDTH, d_kv=4, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0)
    return T5ForConditionalGeneration(config).eval()


def write():
    config = PromptTuningConfig(task_type=TaskType.SEQ_2_SEQ_LM, num_virtual_tokens=ROWS)
    tuned = get_peft_model(model(), config)
    rows = torch.arange(ROWS * WIDTH, dtype=torch.float32).reshape(ROWS, WIDTH) / 7 - 1
    # Both submodules alike, as in a prompt that spot writes; PEFT uses the first half.
    tuned.prompt_encoder["default"].embedding.weight.data = rows.repeat(2, 1)
    save(tuned, GOLDEN)
    for name, dtype in [("bf16", torch.bfloat16), ("f16", torch.float16)]:
        tuned = get_peft_model(model(), PromptTuningConfig(task_type=TaskType.SEQ_2_SEQ_LM, num_virtual_tokens=ROWS))
        tuned.prompt_encoder["default"].embedding.weight.data = torch.cat([rows, -rows])
        tuned = tuned.to(dtype)
        folder = GOLDEN.with_name(f"adapter_{name}")
        save(tuned, folder)
        used = tuned.get_prompt(batch_size=1)[0, :ROWS]
        numpy.save(folder / "rows.npy", used.detach().float().numpy())


def save(tuned, folder):
    tuned.save_pretrained(folder)
    (folder / "README.md").unlink()


def logits(adapter):
    tuned = PeftModel.from_pretrained(model(), adapter).eval()
    ids = torch.tensor([[5, 6, 7, 1]])
    with torch.no_grad():
        return tuned(input_ids=ids, attention_mask=torch.ones_like(ids), labels=torch.tensor([[9, 1]])).logits


def check(folder):
    ours, theirs = logits(folder), logits(GOLDEN)
    assert torch.equal(ours, theirs), (ours - theirs).abs().max()
    again = Path("/tmp/peft_again")
    PeftModel.from_pretrained(model(), folder).save_pretrained(again)
    shutil.rmtree(again)
    print(f"{folder}: loads, and gives the logits of {GOLDEN}")


if len(sys.argv) > 2 and sys.argv[1] == "check":
    check(sys.argv[2])
else:
    write()
