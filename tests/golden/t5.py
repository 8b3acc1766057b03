"""Makes the golden files of the T5 engines with Hugging Face transformers on PyTorch.

    pip install torch transformers safetensors numpy
    python tests/golden/t5.py

Writes tests/golden/t5_v1_1/ and tests/golden/t5_v1_0/ (config.json, model.safetensors, golden.json), the same for the other
two ways to have a head, t5_tied/ (a v1.1 whose head is the embedding) and t5_scaled/ (a v1.0 with a head of its own), whose
config.json is as transformers 5 saves it, for other families, mt5/, byt5/ (a deeper encoder), ul2/ (gated SiLU) and umt5/ (a
position bias in every layer), and tests/golden/buckets.json. Weights are drawn by NumPy, so that they do not depend
on the version of PyTorch.
"""

import json
import pathlib
import platform

import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForSeq2SeqLM
from transformers.models.t5.modeling_t5 import T5Attention

HERE = pathlib.Path(__file__).parent
VOCAB, WIDTH, PROMPT = 64, 16, 4
Z_LOSS = 1e-2
# The longest input reaches the last bucket of the position bias.
INPUT_LENGTHS = [150, 37, 9, 3]
TARGET_LENGTHS = [20, 12, 9, 1]
SAMPLES = {0: [0, 1, 76, 149], 1: [0, 20, 36], 2: [0, 8], 3: [0, 2]}
# What the published config.json of other families has other than T5 v1.1 (sizes apart).
FAMILIES = {
    "mt5": {"model_type": "mt5", "architectures": ["MT5ForConditionalGeneration"]},
    "byt5": {"num_layers": 3, "num_decoder_layers": 1, "tokenizer_class": "ByT5Tokenizer", "vocab_size": 384},
    "ul2": {"feed_forward_proj": "gated-silu", "d_kv": 8},
    "umt5": {"model_type": "umt5", "architectures": ["UMT5ForConditionalGeneration"], "scalable_attention": True},
}
VERSIONS = {
    "python": platform.python_version(),
    "torch": torch.__version__,
    "transformers": transformers.__version__,
    "numpy": np.__version__,
}


def config(v1_1, newer):
    """As in the published checkpoints; `newer`: with the fields of transformers 5."""
    head = {"tie_word_embeddings": True, "scale_decoder_outputs": not v1_1} if newer else {"tie_word_embeddings": not v1_1}
    return {
        "architectures": ["T5ForConditionalGeneration"],
        "model_type": "t5",
        "vocab_size": VOCAB,
        "d_model": WIDTH,
        "d_kv": 5,
        "d_ff": 24,
        "num_layers": 2,
        "num_decoder_layers": 3,
        "num_heads": 3,
        "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128,
        "dropout_rate": 0.1,
        "layer_norm_epsilon": 1e-6,
        "initializer_factor": 1.0,
        "feed_forward_proj": "gated-gelu" if v1_1 else "relu",
        **head,
        "is_encoder_decoder": True,
        "use_cache": True,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
    }


def model(folder, v1_1, tied, rng, family):
    """Writes a checkpoint of random weights and loads it."""
    copies = {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight"} | ({"lm_head.weight"} if tied else set())
    state = {}
    settings = config(v1_1, newer=tied == v1_1) | FAMILIES.get(family, {})
    empty = AutoModelForSeq2SeqLM.from_config(AutoConfig.for_model(**settings))
    for name, value in sorted(empty.state_dict().items()):
        if name in copies:
            continue
        draw = rng.standard_normal(tuple(value.shape))
        if "layer_norm" in name:
            draw = 1 + 0.2 * draw
        elif "shared" in name:
            # Small against what the layers add, so that a tied head does not just repeat the last token.
            draw = 0.3 * draw
        elif "relative_attention_bias" not in name:
            # Less steep for the families: their values are exact, and the rounding of f32 grows with every layer.
            draw = (0.7 if family else 1.5) * draw * value.shape[-1] ** -0.5
        state[name] = torch.tensor(draw, dtype=torch.float32)
    (folder / "config.json").write_text(json.dumps(settings, indent=2) + "\n")
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    loaded = AutoModelForSeq2SeqLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    for name, value in state.items():
        assert torch.equal(loaded.state_dict()[name], value), name
    assert torch.equal(loaded.lm_head.weight, loaded.shared.weight) == tied
    assert getattr(loaded.config, "scale_decoder_outputs", False) != v1_1
    return loaded


def rounded(tensor):
    return [float(f"{x:.9g}") for x in tensor.detach().flatten().tolist()]


def case(t5, inputs, mask, targets, prompt):
    """Everything about one batch; `prompt` has shape [P, E], P may be 0."""
    prompt = prompt.clone().requires_grad_()
    length = prompt.shape[0]
    batch = inputs.shape[0]
    embeds = torch.cat([prompt.expand(batch, -1, -1), t5.shared(inputs)], 1)
    mask = torch.cat([torch.ones(batch, length, dtype=torch.long), mask], 1)
    labels = targets.masked_fill(targets < 0, -100)
    # transformers 5.24 makes the cache as long as the encoder, which fails on a deeper decoder.
    out = t5(inputs_embeds=embeds, attention_mask=mask, labels=labels, use_cache=False)
    log_z = torch.logsumexp(out.logits, -1)
    wanted = out.logits.gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    real = (targets >= 0).to(t5.dtype)
    loss = ((log_z - wanted) * real).sum()
    loss_with_z = loss + Z_LOSS * (log_z.square() * real).sum()
    loss_with_z.backward()
    with torch.no_grad():
        greedy = t5.generate(
            inputs_embeds=embeds,
            attention_mask=mask,
            max_new_tokens=20,
            do_sample=False,
            num_beams=1,
            use_cache=False,
        )
    # The mean that the model itself takes is the same loss.
    assert abs(out.loss.item() * real.sum().item() - loss.item()) < 1e-3
    # Row of the batch, position among the texts or targets, values. A prompt has the negative positions.
    encoder = [
        [row, position, rounded(out.encoder_last_hidden_state[row, length + position])]
        for row, positions in SAMPLES.items()
        for position in list(range(-length, 0)) * (row == 2) + positions
    ]
    logits = [
        [row, position, rounded(out.logits[row, position])]
        for row, position in [(0, 0), (0, 10), (0, 19), (1, 11), (2, 8), (3, 0)]
    ]
    return {
        "prompt": rounded(prompt),
        "encoder": encoder,
        "logits": logits,
        "loss": loss.item(),
        "loss_with_z": loss_with_z.item(),
        "prompt_gradient": rounded(prompt.grad),
        "greedy": [row.tolist() for row in greedy],
    }


def ragged(lengths, rng, fill, vocab):
    """Random ids that end in eos, padded to the longest."""
    rows = torch.full((len(lengths), max(lengths)), fill, dtype=torch.long)
    for row, length in enumerate(lengths):
        rows[row, : length - 1] = torch.from_numpy(rng.integers(3, vocab, length - 1))
        rows[row, length - 1] = 1
    return rows


def write(name, seed, v1_1, tied, family=None):
    rng = np.random.default_rng(seed)
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    t5 = model(folder, v1_1, tied, rng, family)
    vocab = t5.config.vocab_size
    if family:
        # The others are as transformers computes by default; its rounding in f32 is most of what they differ by.
        t5 = t5.double()
    inputs = ragged(INPUT_LENGTHS, rng, 0, vocab)
    targets = ragged(TARGET_LENGTHS, rng, -1, vocab)
    mask = (torch.arange(inputs.shape[1]) < torch.tensor(INPUT_LENGTHS).unsqueeze(1)).long()
    prompt = torch.tensor(rng.standard_normal((PROMPT, WIDTH)), dtype=torch.float32).to(t5.dtype)
    golden = {
        "made_by": "tests/golden/t5.py",
        "versions": VERSIONS,
        "inputs": inputs.tolist(),
        "attention_mask": mask.sum(1).tolist(),
        "targets": targets.tolist(),
        "z_loss": Z_LOSS,
        "plain": case(t5, inputs, mask, targets, prompt[:0]),
        "prompted": case(t5, inputs, mask, targets, prompt),
    }
    (folder / "golden.json").write_text(json.dumps(golden, separators=(",", ":")).replace('],[', '],\n[') + "\n")
    for name in ("plain", "prompted"):
        print(folder.name, name, golden[name]["loss"], golden[name]["loss_with_z"], golden[name]["greedy"])


def write_buckets():
    """Buckets of the distances -300 to 300, as pairs of value and repetition."""
    distances = torch.arange(-300, 301)
    tables = []
    for causal, buckets, largest in [(c, *s) for c in (False, True) for s in ((32, 128), (8, 20), (64, 256), (12, 37))]:
        table = T5Attention._relative_position_bucket(distances, not causal, buckets, largest).tolist()
        runs = []
        for bucket in table:
            if runs and runs[-1][0] == bucket:
                runs[-1][1] += 1
            else:
                runs.append([bucket, 1])
        tables.append({"causal": causal, "buckets": buckets, "max_distance": largest, "runs": runs})
    golden = {"made_by": "tests/golden/t5.py", "versions": VERSIONS, "first": -300, "tables": tables}
    (HERE / "buckets.json").write_text(json.dumps(golden, separators=(",", ":")).replace('},{', '},\n{') + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    write("t5_v1_1", 11, v1_1=True, tied=False)
    write("t5_v1_0", 10, v1_1=False, tied=True)
    write("t5_tied", 12, v1_1=True, tied=True)
    write("t5_scaled", 13, v1_1=False, tied=False)
    for seed, family in enumerate(FAMILIES, 14):
        write(family, seed, v1_1=True, tied=False, family=family)
    write_buckets()
