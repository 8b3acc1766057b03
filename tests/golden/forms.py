"""What the program has to answer with a checkpoint in any form: log-likelihoods of two labels by Hugging Face, in f64.

    pip install torch transformers sentencepiece numpy
    python tests/golden/t5.py
    python tests/golden/forms.py

Made with torch 2.15.0, transformers 5.24.0, sentencepiece 0.2.3, numpy 2.4, Python 3.11.

Writes tests/golden/forms/: a tokenizer of 36 pieces as `spiece.model` and as transformers saves it, `tokenizer.json`; a prompt; and
`golden.json` with the log-likelihoods (`f32`: of the weights as they are; `bf16`: of the weights rounded to bf16). The models are the
tiny ones of `t5.py`; `tests/it/forms.rs` writes them in every form.
"""

import io
import json
import pathlib
import platform
import random
import shutil
import tempfile

# First, as transformers looks for it.
import sentencepiece
import numpy as np
import torch
import transformers
from transformers import AutoModelForSeq2SeqLM, ByT5Tokenizer, T5Tokenizer

HERE = pathlib.Path(__file__).parent
FOLDER = HERE / "forms"
# The folder of each family's model, and whether its tokenizer has no file.
FAMILIES = {"t5_v1_0": False, "t5_v1_1": False, "mt5": False, "umt5": False, "byt5": True, "ul2": False}
LABELS = ["yes", "no good"]
PIECES, SENTINELS, ROWS, WIDTH = 36, 28, 4, 16
WORDS = "yes no good bad the day is a rainy dog sees one at noon so in bed boy sang".split()
VERSIONS = {
    "python": platform.python_version(),
    "torch": torch.__version__,
    "transformers": transformers.__version__,
    "sentencepiece": sentencepiece.__version__,
}


def pieces():
    """Writes the tokenizer in both forms."""
    draw = random.Random(3)
    corpus = [" ".join(draw.choices(WORDS, k=draw.randint(3, 9))) for _ in range(400)]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus), model_writer=model, model_type="unigram", vocab_size=PIECES, pad_id=0, eos_id=1, unk_id=2,
        bos_id=-1, num_threads=1, minloglevel=2, normalization_rule_name="identity",
    )
    (FOLDER / "spiece.model").write_bytes(model.getvalue())
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(FOLDER / "spiece.model", folder)
        T5Tokenizer.from_pretrained(folder, extra_ids=SENTINELS).save_pretrained(folder)
        saved = json.loads((pathlib.Path(folder) / "tokenizer.json").read_text())
    (FOLDER / "tokenizer.json").write_text(json.dumps(saved, ensure_ascii=False, separators=(",", ":")) + "\n")
    tokenizer = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    return lambda text: [*tokenizer.encode(text), 1]


def texts():
    """A short one, a longer one, and one that reaches the last bucket of the position bias."""
    draw = random.Random(5)
    return [" ".join(draw.choices(WORDS, k=count)) for count in (2, 12, 120)]


def likelihoods(model, prompt, ids, labels):
    embeds = torch.cat([prompt, model.shared(torch.tensor(ids))]).unsqueeze(0).to(model.dtype)
    found = []
    for label in labels:
        # transformers 5.24 makes the cache as long as the encoder, which fails on a deeper decoder.
        logits = model(inputs_embeds=embeds, labels=torch.tensor([label]), use_cache=False).logits[0]
        found.append(torch.log_softmax(logits, -1)[range(len(label)), label].sum().item())
    return found


@torch.no_grad()
def main():
    FOLDER.mkdir(exist_ok=True)
    spiece, of_bytes = pieces(), ByT5Tokenizer()
    prompt = np.random.default_rng(9).standard_normal((ROWS, WIDTH)).astype(np.float32)
    np.save(FOLDER / "prompt.npy", prompt)
    families = {}
    for family, has_no_file in FAMILIES.items():
        ids = (lambda text: of_bytes(text).input_ids) if has_no_file else spiece
        own = families[family] = {}
        for precision, dtype in (("f32", torch.float32), ("bf16", torch.bfloat16)):
            t5 = AutoModelForSeq2SeqLM.from_pretrained(HERE / family, attn_implementation="eager", dtype=torch.float32).eval()
            t5 = t5.to(dtype).double()
            own[precision] = [
                likelihoods(t5, torch.from_numpy(prompt).double(), ids(text), [ids(label) for label in LABELS]) for text in texts()
            ]
            print(family, precision, own[precision])
    golden = {
        "made_by": "tests/golden/forms.py", "versions": VERSIONS, "labels": LABELS, "texts": texts(), "families": families,
    }
    (FOLDER / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
