"""Ids of Hugging Face's ByT5 tokenizer, which has no file.

    pip install transformers
    python tests/golden/byt5.py > tests/golden/byt5.json

Made with transformers 5.24.0. Without texts that hold `</s>`, `<pad>` or `<unk>`: those are text here, as for SentencePiece.
"""

import json

from transformers import ByT5Tokenizer

TEXTS = [
    "",
    "a",
    "Hello, world!",
    "  two  spaces\tand a tab\nand a line ",
    "héllo wörld",
    "e\u0301 apart",
    "日本語のテキスト",
    "한국어",
    "Tiếng Việt",
    "🙂 and 👩‍👩‍👧",
    "\u0000\u0001\u001f\u007f\u0080\u00a0\u00ad\u0100",
    "sst2 sentence: a <b>tag</b> and 3 < 4",
    "fill <extra_id_0> and <extra_id_1> and<extra_id_124>!",
    "<extra_id_125> is text",
    "▁ is no space",
]

tokenizer = ByT5Tokenizer()
print(json.dumps([{"text": text, "ids": tokenizer(text).input_ids} for text in TEXTS], separators=(",", ":")))
