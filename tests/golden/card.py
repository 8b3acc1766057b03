"""Loads an exported prompt as its model card says, and says what the model thinks of labels.

    python tests/golden/card.py FOLDER TOKENIZER TEXT LABEL...

The Python in FOLDER/README.md is executed as it stands there, in FOLDER. Prints the log-likelihood of every label with its eos, as JSON.
TOKENIZER is the `tokenizer.json` of the model: transformers makes its own of it for T5, and the ids must be those that spot has.

Checked with torch 2.15.0, transformers 5.24.0, peft 0.21.2, tokenizers 0.23.1.
"""

import json
import os
import re
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer

folder, path, text, *labels = sys.argv[1:]
tokenizer_file = Tokenizer.from_file(path)
os.chdir(folder)
card = Path("README.md").read_text()
code = re.search(r"```python\n(.*?)```", card, re.DOTALL).group(1)
assert len(code.splitlines()) == 5, code
known = {}
exec(code, known)
model = known["model"]
eos = model.config.eos_token_id


def ids(words):
    return torch.tensor([tokenizer_file.encode(words, add_special_tokens=False).ids + [eos]])


found = {}
with torch.no_grad():
    for label in labels:
        inputs, target = ids(text), ids(label)
        logits = model(input_ids=inputs, attention_mask=torch.ones_like(inputs), labels=target).logits
        found[label] = torch.log_softmax(logits.double(), -1)[0, torch.arange(target.shape[1]), target[0]].sum().item()
print(json.dumps(found))
