"""Files of torch's own format, as `torch.save` and PEFT write them: a tiny T5 in every form, prompts, and what must be refused.

    pip install torch transformers peft safetensors numpy
    python tests/golden/torch_files.py

Writes tests/golden/torch/. `config.json` and `model.safetensors` are the twin of all models there: their numbers are multiples of
1/64 below 4, which f16 and bf16 hold exactly. `expected.json` has the numbers of the prompts.

Made with torch 2.15.0, transformers 5.24.0, peft 0.21.2, safetensors 0.8, numpy 2, Python 3.11.
"""

import io
import json
import os
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

# The script has the name of the package.
sys.path.pop(0)

import torch
from peft import PromptTuningConfig, TaskType, get_peft_model
from safetensors.torch import save_file
from transformers import T5Config, T5ForConditionalGeneration

FOLDER = Path(__file__).parent / "torch"
CONFIG = {
    "architectures": ["T5ForConditionalGeneration"],
    "model_type": "t5",
    "vocab_size": 8,
    "d_model": 4,
    "d_kv": 2,
    "d_ff": 6,
    "num_layers": 1,
    "num_decoder_layers": 1,
    "num_heads": 2,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 20,
    "dropout_rate": 0.1,
    "layer_norm_epsilon": 1e-6,
    "initializer_factor": 1.0,
    "feed_forward_proj": "gated-gelu",
    "tie_word_embeddings": False,
    "is_encoder_decoder": True,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
}
# As torch wrote before 1.6.
LEGACY = {"_use_new_zipfile_serialization": False}
COPIES = ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"]


def model():
    torch.manual_seed(0)
    t5 = T5ForConditionalGeneration(T5Config(**CONFIG)).eval()
    # transformers 5 ties the head whatever the configuration says.
    t5.lm_head.weight = torch.nn.Parameter(torch.empty_like(t5.lm_head.weight))
    with torch.no_grad():
        for parameter in t5.parameters():
            parameter.copy_(torch.randint(-255, 256, parameter.shape) / 64)
    return t5


def models():
    t5 = model()
    state = t5.state_dict()
    # What `state_dict` gives is an OrderedDict with an attribute, in which the embedding is there three times.
    assert type(state) is OrderedDict and hasattr(state, "_metadata")
    assert all(state[name].data_ptr() == state["shared.weight"].data_ptr() for name in COPIES)
    (FOLDER / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    save_file({name: value for name, value in state.items() if name not in COPIES}, FOLDER / "model.safetensors")
    bf16 = {name: value.bfloat16() for name, value in state.items()}
    torch.save(state, FOLDER / "f32.bin")
    torch.save({name: value.half() for name, value in state.items()}, FOLDER / "f16.bin")
    torch.save(bf16, FOLDER / "bf16.bin")
    torch.save(state, FOLDER / "legacy_f32.bin", **LEGACY)
    torch.save(bf16, FOLDER / "legacy_bf16.bin", **LEGACY)
    torch.save(state, FOLDER / "protocol_4.bin", pickle_protocol=4)
    torch.save(state, FOLDER / "legacy_protocol_4.bin", pickle_protocol=4, **LEGACY)
    torch.save({name: torch.nn.Parameter(value) for name, value in state.items() if name not in COPIES}, FOLDER / "parameters.bin")
    # As training loops write it.
    torch.save({"epoch": 3, "best": None, "state_dict": state}, FOLDER / "nested.bin")
    # All weights as views of one storage.
    flat = torch.cat([value.flatten() for value in state.values()])
    views, start = {}, 0
    for name, value in state.items():
        views[name] = flat[start : start + value.numel()].view(value.shape)
        start += value.numel()
    torch.save(views, FOLDER / "views.bin")
    torch.save(views, FOLDER / "legacy_views.bin", **LEGACY)
    (FOLDER / "sharded").mkdir(exist_ok=True)
    names = [f"pytorch_model-0000{i}-of-00002.bin" for i in (1, 2)]
    places = {name: names[at % 2] for at, name in enumerate(sorted(state))}
    for file in names:
        torch.save({name: state[name] for name, place in places.items() if place == file}, FOLDER / "sharded" / file)
    index = {"metadata": {"total_size": 4 * flat.numel()}, "weight_map": places}
    (FOLDER / "sharded" / "pytorch_model.bin.index.json").write_text(json.dumps(index, indent=2) + "\n")


def prompts():
    rows = torch.randint(-255, 256, (3, 8)) / 64
    wide = torch.cat([torch.full((2, 8), 7.0), rows, torch.full((1, 8), 9.0)])
    forms = {
        "bare.pt": rows,
        "bare_f16.pt": rows.half(),
        "bare_bf16.pt": rows.bfloat16(),
        "bare_f64.pt": rows.double(),
        "parameter.pt": torch.nn.Parameter(rows),
        "view.pt": wide[2:5],
        "dict.pt": {"prompt": rows, "step": 30, "lr": 0.3, "task": "mnli", "done": True, "losses": [1.0, 0.5], "bias": torch.ones(8)},
        "two.pt": {"prompt": rows, "moments": rows * rows},
    }
    for name, value in forms.items():
        torch.save(value, FOLDER / name)
        torch.save(value, FOLDER / f"legacy_{name}", **LEGACY)
    (FOLDER / "expected.json").write_text(json.dumps(rows.tolist()) + "\n")
    return rows


class Call:
    """A pickle of this runs a command where it is loaded."""

    def __reduce__(self):
        return os.system, ("echo executed > executed",)


def refused(rows):
    torch.save({"prompt": rows, "more": Call()}, FOLDER / "system.pt")
    torch.save({"prompt": rows, "more": Call()}, FOLDER / "legacy_system.pt", **LEGACY)
    torch.save(rows.t(), FOLDER / "transposed.pt")
    torch.save({"prompt": rows[:, ::2]}, FOLDER / "strided.pt")
    torch.save((rows * 64).int(), FOLDER / "int.pt")
    torch.save(torch.quantize_per_tensor(rows, 0.5, 0, torch.qint8), FOLDER / "quantised.pt")
    torch.save(rows.to_sparse(), FOLDER / "sparse.pt")
    torch.save(torch.nn.Linear(2, 2), FOLDER / "module.pt")
    torch.save({"a": 1}, FOLDER / "nothing.pt")
    buffer = io.BytesIO()
    torch.save(rows, buffer)
    with zipfile.ZipFile(buffer) as zipped, zipfile.ZipFile(FOLDER / "deflated.pt", "w", zipfile.ZIP_DEFLATED) as deflated:
        for item in zipped.infolist():
            deflated.writestr(item.filename, zipped.read(item))
    with zipfile.ZipFile(FOLDER / "no_torch.zip", "w") as other:
        other.writestr("a/readme.txt", "no weights")
    with zipfile.ZipFile(buffer) as zipped, zipfile.ZipFile(FOLDER / "big_endian.pt", "w") as big:
        for item in zipped.infolist():
            big.writestr(item.filename, b"big" if item.filename.endswith("byteorder") else zipped.read(item))
    torch.jit.save(torch.jit.script(torch.nn.Identity()), FOLDER / "script.pt")


def adapter():
    config = PromptTuningConfig(task_type=TaskType.SEQ_2_SEQ_LM, num_virtual_tokens=3)
    settings = T5Config(vocab_size=32, d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0)
    tuned = get_peft_model(T5ForConditionalGeneration(settings), config)
    rows = torch.tensor(json.loads((FOLDER / "expected.json").read_text()))
    tuned.prompt_encoder["default"].embedding.weight.data = torch.cat([rows, -rows])
    tuned.save_pretrained(FOLDER / "adapter", safe_serialization=False)
    (FOLDER / "adapter" / "README.md").unlink()


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    models()
    refused(prompts())
    adapter()
    for path in sorted(FOLDER.rglob("*.*")):
        print(path.relative_to(FOLDER), path.stat().st_size)
