"""Small SentencePiece models, and what SentencePiece makes of odd texts with them: tests/golden/spiece/.

Written with Python 3.11, sentencepiece 0.2.1:
    python tests/golden/spiece.py
The models are those of T5 in small: Unigram, pad 0, eos 1, unknown 2, no bos. Letters with several combining marks are in marks.py.
"""

import io
import json
import pathlib
import random

import sentencepiece

FOLDER = pathlib.Path(__file__).parent / "spiece"

# In the form of SentencePiece's own tables: code points, tab, code points. The whole of NFKC would be 240 KB a model.
RULES = [
    ("\t", " "), ("\n", " "), ("\r", " "), ("\u00a0", " "), ("\u3000", " "), ("\u2003", " "),
    ("\u200b", " "), ("\u0007", ""), ("\u00ad", ""), ("\ufb01", "fi"), ("\u2122", "TM"), ("\u2460", "1"), ("\u00bd", "1\u20442"),
    ("e\u0301", "\u00e9"), ("E\u0301", "\u00c9"), ("\u212b", "\u00c5"), ("A\u030a", "\u00c5"), ("\u3392", "MHz"),
] + [(chr(0xff01 + i), chr(0x21 + i)) for i in range(94)]

SYLLABLES = "ba to ri ner sta lu ing ow x ch e s qu the and of in é ß ю 語 fi ,".split(" ")


def corpus():
    draw = random.Random(7)
    words = ["".join(draw.choice(SYLLABLES) for _ in range(draw.randint(1, 3))) for _ in range(250)]
    pick = lambda: words[int(draw.random() ** 3 * len(words))]
    return [" ".join(pick() for _ in range(draw.randint(3, 12))) for _ in range(1500)]


def texts():
    draw = random.Random(11)
    parts = SYLLABLES + [
        " ", " ", " ", "  ", "    ", "\t", "\n", "\r\n", "\u00a0", "\u3000", "\u2003", "\u200b", "\u2028", "\u0085", "\ufeff",
        "\u0007", "\u001b", "\u00ad", "\ufb01", "\u2122", "\u2460", "\u00bd", "e\u0301", "E\u0301", "A\u030a", "\u212b", "\u3392",
        "\uff21\uff22\uff43", "\uff01", "\u2581", " \u2581", "\u2581 ", "\u2581\u2581", "</s>", "<unk>", "<pad>", "<extra_id_0>",
        "<0x41>", "日本", "語", "한국", "नमस्ते", "שלום", "مرحبا", "👍🏽", "👨‍👩‍👧", "🇩🇪", "e\u0323", "\U0001d54f", "\ufffd",
        "\U0010fffd", "123", "...", "baba", "tori", "nersta", "the", "quing",
    ]
    fixed = ["", " ", "   ", "\t", "\u2581", "\u2581ba", " \u2581ba", "ba\u2581to", "ba ", " ba", "ba  to", "\u00a0ba\u00a0", "zzz",
             "z z", "zz  zz", "</s>", "ba</s>to", "<unk>", "e\u0301", "\u0301", "x" * 300, "ba " * 100]
    return fixed + ["".join(draw.choice(parts) for _ in range(draw.randint(1, 14))) for _ in range(400)]


def train(name, **options):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus()), model_writer=model, model_type="unigram", vocab_size=220, pad_id=0, eos_id=1,
        unk_id=2, bos_id=-1, num_threads=1, minloglevel=2, hard_vocab_limit=False, **options,
    )
    (FOLDER / f"{name}.model").write_bytes(model.getvalue())
    tokenizer = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    lines = []
    for text in texts():
        ids = tokenizer.encode(text)
        lines.append([text, ids, tokenizer.decode(ids)])
    return {"model": f"{name}.model", "lines": lines}


def main():
    FOLDER.mkdir(exist_ok=True)
    rules = FOLDER / "rules.tsv"
    points = lambda text: " ".join(f"{ord(c):X}" for c in text)
    rules.write_text("".join(f"{points(a)}\t{points(b)}\n" for a, b in RULES), encoding="utf-8")
    made = [
        train("rules", normalization_rule_tsv=str(rules)),
        train("identity", normalization_rule_name="identity"),
        train("across", normalization_rule_name="identity", split_by_whitespace=False),
    ]
    rules.unlink()
    text = ",\n".join(json.dumps(model, ensure_ascii=True, separators=(",", ":")) for model in made)
    (FOLDER / "ids.json").write_text(f"[{text}]\n")


if __name__ == "__main__":
    main()
