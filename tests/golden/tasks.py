"""Writes tasks.json: digests of the examples that T5's templates make of real files. Only digests leave this script.

The templates are those of the T5 code base (t5/data/preprocessors.py), written here a second time in Python, so that the
Rust readers are checked against something other than themselves.

    pip install blake3 numpy
    python tests/golden/tasks.py ../shared/data > tests/golden/tasks.json
"""

import json
import re
import sys

import blake3
import numpy as np

ROOT = sys.argv[1]


def table(path, header=None):
    with open(f"{ROOT}/{path}", encoding="utf-8", newline="\n") as file:
        rows = [line.rstrip("\n").split("\t") for line in file]
    names = header or rows.pop(0)
    return [dict(zip(names, row, strict=True)) for row in rows]


def lines(path):
    with open(f"{ROOT}/{path}", encoding="utf-8", newline="\n") as file:
        return [json.loads(line) for line in file]


def rows(word, fields, labels, data, label="label"):
    for row in data:
        text = " ".join(f"{name}: {row[column]}" for name, column in fields)
        value = row[label]
        if isinstance(value, str) and value in labels:
            target = value
        else:
            target = labels[int(value)]
        yield [f"{word} {text}", target]


def plain(*names):
    return [(name, name) for name in names]


PAIR = plain("sentence1", "sentence2")
NLI = ["entailment", "neutral", "contradiction"]
TWO = ["entailment", "not_entailment"]
BOOLEAN = ["False", "True"]


def stsb(data):
    for row in data:
        label = np.float32(row["score"])
        rounded = np.round(label * np.float32(5)) / np.float32(5)
        yield [f"stsb sentence1: {row['sentence1']} sentence2: {row['sentence2']}", f"{rounded:.1f}"]


def multirc(data):
    for row in data:
        for question in row["passage"]["questions"]:
            for answer in question["answers"]:
                text = f"multirc question: {question['question']} answer: {answer['text']} paragraph: {row['passage']['text']}"
                yield [re.sub("<(/)?b>", "", re.sub("<br>", " ", text)), BOOLEAN[answer["label"]]]


def record(data):
    for row in data:
        text = row["passage"]["text"]
        entities = sorted({text[e["start"] : e["end"] + 1] for e in row["passage"]["entities"]})
        passage = re.sub(r"(\.|\?|\!|\"|\')\n@highlight\n", r"\1 ", text)
        passage = re.sub(r"\n@highlight\n", ". ", passage)
        for query in row["qas"]:
            answers = sorted({a["text"] for a in query["answers"]})
            for answer in answers:
                yield [f"record query: {query['query']} entities: {', '.join(entities)} passage: {passage}", answer, *answers]


def wsc_fixed(row):
    """The `wsc.fixed` configuration of TFDS."""
    row = {"text": row["text"], "label": row["label"], **row["target"]}
    for span in ["span1", "span2"]:
        text, index = row[f"{span}_text"], row[f"{span}_index"]
        if text in row["text"]:
            continue
        first = row["text"].split()[index]
        text = (text[0].lower() if first[0].islower() else text[0].upper()) + text[1:]
        row[f"{span}_text"] = text.rstrip(".").replace("\n", " ")
    return row


def wsc_generate(data, train):
    for row in map(wsc_fixed, data):
        if train and not row["label"]:
            continue
        words, at = row["text"].split(" "), row["span2_index"]
        if words[at] == row["span2_text"]:
            text = " ".join([" ".join(words[:at]), "X", " ".join(words[at + 1 :])])
        elif words[at] == "use":  # the first of T5's two exceptions
            text = row["text"].replace("use it ,", "use X ,")
        else:  # the second
            text = row["text"].replace('for him,"', 'for X ,"').rstrip()
        text = re.sub(" X ", f" *{row['span2_text']}* ", text)
        yield [f"wsc: {text}", row["span1_text"]]


def wsc_classify(data):
    def mark(text, span, index, sign):
        return re.sub(rf"^((?:\S+\s){{{index}}})({span})", rf"\1{sign} \2 {sign}", text)

    for row in map(wsc_fixed, data):
        text = mark(row["text"], row["span1_text"], row["span1_index"], "*")
        second = row["span2_index"] + 2 * (row["span1_index"] < row["span2_index"])
        yield [f"wsc text: {mark(text, row['span2_text'], second, '#')}", BOOLEAN[row["label"]]]


def squad(path):
    def padded(text):
        text = re.sub(r"([!-/:-@\[-`{-~])", r" \1 ", text)
        return re.sub(r"[ \t\n\r\f]+", " ", text)

    with open(f"{ROOT}/{path}", encoding="utf-8") as file:
        articles = json.load(file)["data"]
    for article in articles:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                answers = [padded(a["text"]) for a in question["answers"]]
                text = " ".join(["question:", padded(question["question"]), "context:", padded(paragraph["context"])])
                yield [re.sub(r"[ \t\n\r\f]+", " ", text), answers[0], *answers]


COLA = ["source", "label", "mark", "sentence"]
MRPC = [("sentence1", "#1 String"), ("sentence2", "#2 String")]
ENTAILS = plain("hypothesis", "premise")
made = {
    ("glue/cola", "CoLA/dev.tsv"): lambda p: rows("cola", plain("sentence"), ["unacceptable", "acceptable"], table(p, COLA)),
    ("glue/sst2", "SST-2/dev.tsv"): lambda p: rows("sst2", plain("sentence"), ["negative", "positive"], table(p)),
    ("glue/mrpc", "MRPC/dev.tsv"): lambda p: rows("mrpc", MRPC, ["not_equivalent", "equivalent"], table(p), "Quality"),
    ("glue/stsb", "STS-B/dev.tsv"): lambda p: stsb(table(p)),
    ("glue/qqp", "QQP/heldout_1k.tsv"): lambda p: rows(
        "qqp", plain("question1", "question2"), ["not_duplicate", "duplicate"], table(p), "is_duplicate"
    ),
    ("glue/mnli", "MNLI/heldout_1k.jsonl"): lambda p: rows("mnli", ENTAILS, NLI, lines(p)),
    ("glue/mnli", "MNLI/glue_layout_sample.tsv"): lambda p: rows(
        "mnli", [("hypothesis", "sentence2"), ("premise", "sentence1")], NLI, table(p), "gold_label"
    ),
    ("glue/qnli", "QNLI/dev.tsv"): lambda p: rows("qnli", plain("question", "sentence"), TWO, table(p)),
    ("glue/rte", "RTE/dev.tsv"): lambda p: rows("rte", PAIR, TWO, table(p)),
    ("glue/wnli", "WNLI/dev.tsv"): lambda p: rows("wnli", PAIR, ["not_entailment", "entailment"], table(p)),
    ("superglue/boolq", "BoolQ/val.jsonl"): lambda p: rows("boolq", plain("passage", "question"), BOOLEAN, lines(p)),
    ("superglue/cb", "CB/val.jsonl"): lambda p: rows("cb", ENTAILS, ["entailment", "contradiction", "neutral"], lines(p)),
    ("superglue/copa", "COPA/val.jsonl"): lambda p: rows(
        "copa", plain("choice1", "choice2", "premise", "question"), ["choice1", "choice2"], lines(p)
    ),
    ("superglue/multirc", "MultiRC/val.jsonl"): lambda p: multirc(lines(p)),
    ("superglue/record", "ReCoRD/train32.jsonl"): lambda p: record(lines(p)),
    ("superglue/rte", "RTE/val.jsonl"): lambda p: rows("rte", ENTAILS, TWO, lines(p)),
    ("superglue/wic", "WiC/val.jsonl"): lambda p: rows("wic", plain("sentence1", "sentence2", "word"), BOOLEAN, lines(p)),
    ("superglue/wsc", "WSC/train.jsonl"): lambda p: wsc_generate(lines(p), True),
    ("superglue/wsc", "WSC/val.jsonl"): lambda p: wsc_generate(lines(p), False),
    ("superglue/wsc_classify", "WSC/val.jsonl"): lambda p: wsc_classify(lines(p)),
    ("squad", "SQuAD-v1.1/dev-v1.1.json"): squad,
}
digests = {}
for (name, path), make in made.items():
    suite = {"glue": "glue", "superglue": "superglue", "squad": "qa"}[name.split("/")[0]]
    hasher = blake3.blake3()
    for texts in make(f"{suite}/{path}"):
        for text in texts:
            hasher.update(text.encode() + b"\n")
    digests[f"{name} of {path}"] = hasher.hexdigest()[:32]
print(json.dumps(digests, indent=2))
