"""Writes t5_preprocess.json: what T5's and SPoT's own code makes of rows, for the tasks of the catalogue that say they have its text.

The code that runs is theirs: the tasks that t5/data/tasks.py, t5/data/glue_utils.py and prompt_tuning/spot/data/ register, and the readers
of TensorFlow Datasets for the files of GLUE, SuperGLUE and SQuAD. Rows are made up here, in the columns of the hub and in the files of the
authors; of real files only digests leave this script.

    pip install t5==0.9.4 seqio==0.0.20 tensorflow-cpu==2.21.0 tensorflow-datasets==4.9.10 blake3
    git clone https://github.com/google-research/prompt-tuning && git -C prompt-tuning checkout 72285eea
    PYTHONPATH=prompt-tuning python -P tests/golden/t5_preprocess.py ../shared/data > tests/golden/t5_preprocess.json
"""

import csv
import importlib.metadata
import json
import pathlib
import sys
import tempfile

import blake3
import numpy as np
import seqio
import t5.data.glue_utils
import t5.data.tasks
import tensorflow as tf
import tensorflow_datasets as tfds
from prompt_tuning.spot.data import mrqa, nli, summarization

ROOT = pathlib.Path(sys.argv[1])
FOLDER = pathlib.Path(tempfile.mkdtemp())
# T5 registers no task for its second form of WSC; its function names the preprocessor.
WSC = "t5.data.glue_utils.get_glue_text_preprocessor(wsc.fixed)"

# Texts with everything that a template, a table or a tokenizer might change.
PLAIN = [
    "The boats were late .",
    'He said: "It\'s 5 o\'clock, isn\'t it?"',
    " a blank before,  two within and one after ",
    "",
    "D\u00e9j\u00e0 vu \u2014 \u201cquoted\u201d \u2026 10 %, $5.50 (U.S.) & <b>bold</b><br>{braces} back\\slash \\1 \\0",
    "\u65e5\u672c\u8a9e, e\u0301 and \U0001f642; no-break\u00a0space, wide\u3000space, line\u2028separator, next\u0085line",
    "do n't do n't `` so '' -LRB- x -RRB- / @-@",
    "None",
]
# A field of a TSV file cannot have these.
BROKEN = [
    "one\ttab, one\nline and\r\nanother",
    "  \n\n lines \t between   \x0b vertical \x0c form feed \n",
]
TEXTS = PLAIN + BROKEN


def pairs(texts=TEXTS):
    """Two different texts for each row."""
    return [(text, texts[(at * 3 + 1) % len(texts)]) for at, text in enumerate(texts)]


def rows(names, texts, labels, first=0):
    """A row for each text, with the texts after it in the other columns, and labels in turn."""
    made = []
    for at in range(len(texts)):
        row = {name: texts[(at + 3 * column) % len(texts)] for column, name in enumerate(names)}
        made.append({**row, "label": labels[at % len(labels)], "idx": first + at})
    return made


def plain(value):
    """What TFDS encodes, as lists and numbers."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def preprocessed(name, builder, examples):
    """The text that a registered task makes of examples of TFDS."""
    features = tfds.builder(builder, data_dir=FOLDER).info.features
    examples = list(examples)
    keys = [key for key in examples[0] if key in features]
    if builder.split("/")[0] in ["glue", "super_glue"]:
        assert set(keys) == set(features), (keys, features)
    encoded = [{key: plain(features[key].encode_example(example[key])) for key in keys} for example in examples]
    specs = {key: features[key].get_tensor_spec() for key in keys}
    dataset = tf.data.Dataset.from_generator(lambda: encoded, output_signature=specs)
    if name == WSC:
        config = tfds.text.super_glue.SuperGlue.builder_configs["wsc.fixed"]
        dataset = t5.data.glue_utils.get_glue_text_preprocessor(config)(dataset)
    else:
        dataset = seqio.TaskRegistry.get(name).preprocessors[0](dataset)
    for example in dataset.as_numpy_iterator():
        made = [example["inputs"].decode(), example["targets"].decode()]
        yield made + [answer.decode() for answer in example.get("answers", [])]


CASES = []


def hub(task, name, builder, train, test=(), variant=None, columns=lambda row: row):
    """Rows in the columns of the hub; `columns` makes those of TFDS of them."""
    for split, data in [("train", train), ("test", test)]:
        if data:
            made = list(preprocessed(name, builder, map(columns, data)))
            assert len(made) == len(data)
            case = {"task": task, "variant": variant, "from": name, "split": split, "rows": data, "examples": made}
            CASES.append(case)


def glue(task, names, count, variant=None, builder=None, name=None):
    labels = list(range(count))
    train, test = rows(names, TEXTS, labels), rows(names, TEXTS[:2], [-1], 100)
    builder = builder or f"glue/{task}"
    hub(task, name or f"glue_{builder.split('/')[1]}_v002", builder, train, test, variant)


def superglue(task, names, count, texts=TEXTS):
    labels = list(range(count))
    train, test = rows(names, texts, labels), rows(names, texts[:2], [-1], 100)
    hub(task, f"super_glue_{task}_v102", f"super_glue/{task}", train, test)


PAIR = ["sentence1", "sentence2"]
ENTAILS = ["premise", "hypothesis"]
glue("cola", ["sentence"], 2)
glue("sst2", ["sentence"], 2)
glue("mrpc", PAIR, 2)
glue("qqp", ["question1", "question2"], 2)
glue("mnli", ENTAILS, 3)
glue("mnli", ENTAILS, 3, "mismatched", "glue/mnli_mismatched")
glue("qnli", ["question", "sentence"], 2)
glue("glue_rte", PAIR, 2, None, "glue/rte")
scores = [at / 10 for at in range(51)] + [0.083, 1.667, 2.333, 2.299, 2.301, 3.125, 3.7999999, 4.909, 4.75]
hub(
    "stsb",
    "glue_stsb_v002",
    "glue/stsb",
    [
        {"sentence1": TEXTS[at % len(TEXTS)], "sentence2": "two", "label": score, "idx": at}
        for at, score in enumerate(scores)
    ],
    [{"sentence1": "one", "sentence2": "two", "label": -1.0, "idx": 100 + at} for at in range(2)],
)
superglue("boolq", ["question", "passage"], 2)
superglue("cb", ENTAILS, 3)
superglue("rte", ENTAILS, 2)
copa = rows(["premise", "choice1", "choice2"], TEXTS, [0, 1])
hidden = rows(["premise", "choice1", "choice2"], TEXTS[:2], [-1], 100)
copa, hidden = ([{**row, "question": ["cause", "effect"][row["idx"] // 2 % 2]} for row in data] for data in (copa, hidden))
hub("copa", "super_glue_copa_v102", "super_glue/copa", copa, hidden)
wic = rows(["word", "sentence1", "sentence2"], TEXTS, [0, 1])
hidden = rows(["word", "sentence1", "sentence2"], TEXTS[:2], [-1], 100)
places = {"start1": 1, "start2": 2, "end1": 5, "end2": 6}
hub("wic", "super_glue_wic_v102", "super_glue/wic", *([{**row, **places} for row in data] for data in (wic, hidden)))

# Questions about texts, with spaces around punctuation.
ANSWERS = [["Ann Lee"], ["$5.50", "5.50"], ["U.S."], ["the \u201cold\u201d  one\n", "old"], [" (b) "], ["None"], ["1932\u20131939"]]
questions = [
    {"question": question, "context": context, "answers": ANSWERS[at % len(ANSWERS)]}
    for at, (question, context) in enumerate(pairs())
]
squad = [
    {
        "id": f"q{at}",
        "title": "T",
        **row,
        "answers": {"text": row["answers"], "answer_start": [7] * len(row["answers"])},
    }
    for at, row in enumerate(questions)
]
hub("squad", "squad_v010_allanswers", "squad/v1.1", squad)
SUBSETS = {
    "squad": "SQuAD",
    "news_qa": "NewsQA",
    "trivia_qa": "TriviaQA-web",
    "search_qa": "SearchQA",
    "hotpot_qa": "HotpotQA",
    "natural_questions": "NaturalQuestionsShort",
}
assert list(SUBSETS) == list(mrqa.DATASETS)
for task, subset in SUBSETS.items():
    data = [{"subset": subset, "qid": f"q{at}", **row} for at, row in enumerate(questions)]
    hub(task, f"spot_mrqa_{task}_v100", f"mrqa/{task}", data, variant="spot" if task == "squad" else None)

# Natural language inference in the paper's code.


def context(row):
    """TFDS has the premise of ANLI under this name, and letters for words that are labels."""
    label = row["label"]
    return {**row, "context": row["premise"], "label": label[0] if isinstance(label, str) else label}


for task, spec in nli.DATASETS.items():
    name = next(name for name in seqio.TaskRegistry.names() if name.startswith(f"spot_{task}_v"))
    labels = range(len(spec["label_names"]))
    train = [
        {"premise": premise, "hypothesis": hypothesis, "label": labels[at % len(labels)]}
        for at, (premise, hypothesis) in enumerate(pairs())
    ]
    if task == "doc_nli":
        train = [{**row, "label": spec["label_names"][row["label"]]} for row in train]
    if task == "snli":
        train.append({"premise": "no agreement", "hypothesis": "among annotators", "label": -1})
    hub(task, name, spec["tfds_name"].split(":")[0], train, columns=context if task.startswith("anli") else lambda row: row)

# The files of the authors of SNLI have these columns.
labels = [*nli.DATASETS["snli"]["label_names"], "-"]
original = [
    {"sentence1": premise, "sentence2": hypothesis, "gold_label": labels[at % len(labels)]}
    for at, (premise, hypothesis) in enumerate(pairs())
]


def decided(row):
    """What TFDS makes of them."""
    label = row["gold_label"]
    return {"premise": row["sentence1"], "hypothesis": row["sentence2"], "label": -1 if label == "-" else label}


hub("snli", "spot_snli_v110", "snli", original, variant="original", columns=decided)

# Summaries and translations.
filled = [text for text in TEXTS if text not in ["", "None"]]
for task, spec in summarization.DATASETS.items():
    name = next(name for name in seqio.TaskRegistry.names() if name.startswith(f"spot_{task}_v"))
    source, target = spec["source_key"], spec["target_key"]
    data = [{source: article, target: filled[at % len(filled)]} for at, article in enumerate(TEXTS)]
    if task in ["cnn_dailymail", "samsum"]:
        data = [{**row, "id": f"a{at}"} for at, row in enumerate(data)]
    hub(task, name, spec["tfds_name"].split(":")[0], data)
    if task == "cnn_dailymail":
        hub(task, "cnn_dailymail_v002", task, data, variant="t5")
for task, language, name, builder in [
    ("wmt_en_de", "de", "wmt_t2t_ende_v003", "wmt_t2t_translate/de-en"),
    ("wmt_en_fr", "fr", "wmt15_enfr_v003", "wmt15_translate/fr-en"),
    ("wmt_en_ro", "ro", "wmt16_enro_v003", "wmt16_translate/ro-en"),
]:
    data = [{"translation": {"en": text, language: filled[at % len(filled)]}} for at, text in enumerate(TEXTS)]
    hub(task, name, builder, data, columns=lambda row: row["translation"])


# The files of the authors.


def read(builder, path, split):
    """The examples that TFDS makes of a file."""
    suite, _, config = builder.partition("/")
    if path.suffix == ".jsonl" and suite not in ["super_glue"]:
        lines = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
        keep = {"glue": ["premise", "hypothesis", "label", "idx"]}.get(suite)
        return [{key: {"idx": at, **line}[key] for key in keep or line} for at, line in enumerate(lines)]
    if builder == "glue/mrpc":
        # TFDS makes its splits of the file of the authors, which has these columns.
        with path.open(encoding="utf-8", newline="\n") as file:
            lines = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        texts = {"sentence1": "#1 String", "sentence2": "#2 String"}
        return [
            {**{key: line[column] for key, column in texts.items()}, "label": int(line["Quality"]), "idx": at}
            for at, line in enumerate(lines)
        ]
    made = tfds.builder(builder, data_dir=FOLDER)
    generated = made._generate_examples(path) if suite == "squad" else made._generate_examples(path, split)
    return [example for _, example in generated]


FILES = []


def digest(examples):
    hasher = blake3.blake3()
    for texts in examples:
        for text in texts:
            hasher.update(text.encode() + b"\n")
    return hasher.hexdigest()[:32]


def real(task, name, builder, path, split="validation", variant=None, columns=lambda row: row):
    """The digest of the examples of a real file."""
    examples = list(preprocessed(name, builder, map(columns, read(builder, ROOT / path, split))))
    file = {"task": task, "variant": variant, "from": name, "split": split, "file": path}
    FILES.append({**file, "examples": len(examples), "digest": digest(examples)})


def written(task, name, builder, ending, text, split="train", variant=None):
    """A file that is made up here, as its authors would have written it."""
    path = FOLDER / f"rows.{ending}"
    path.write_text(text, "utf-8", newline="\n")
    made = list(preprocessed(name, builder, read(builder, path, split)))
    case = {"task": task, "variant": variant, "from": name, "split": split, "ending": ending, "text": text}
    CASES.append({**case, "examples": made})


def tsv(names, lines):
    return "".join("\t".join(map(str, line)) + "\n" for line in ([names] if names else []) + lines)


def jsonl(lines):
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def two(texts=PLAIN):
    return list(enumerate(pairs(texts)))


written("cola", "glue_cola_v002", "glue/cola", "tsv", tsv(None, [["gj04", at % 2, "*", a] for at, (a, _) in two()]))
written("sst2", "glue_sst2_v002", "glue/sst2", "tsv", tsv(["sentence", "label"], [[a, at % 2] for at, (a, _) in two()]))
written(
    "mrpc",
    "glue_mrpc_v002",
    "glue/mrpc",
    "tsv",
    tsv(["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"], [[at % 2, at, 50 + at, a, b] for at, (a, b) in two()]),
)
written(
    "stsb",
    "glue_stsb_v002",
    "glue/stsb",
    "tsv",
    tsv(["index", *PAIR, "score"], [[at, "one", "two", f"{score:.3f}"] for at, score in enumerate(scores)]),
)
written(
    "qqp",
    "glue_qqp_v002",
    "glue/qqp",
    "tsv",
    tsv(
        ["id", "qid1", "qid2", "question1", "question2", "is_duplicate"],
        [[at, at, 50 + at, a, b, at % 2] for at, (a, b) in two()],
    ),
)
words = ["entailment", "neutral", "contradiction"]
written(
    "mnli",
    "glue_mnli_v002",
    "glue/mnli",
    "tsv",
    tsv(["index", *PAIR, "label1", "gold_label"], [[at, a, b, "neutral", words[at % 3]] for at, (a, b) in two()]),
)
either = ["entailment", "not_entailment"]
for task, names in [("qnli", ["question", "sentence"]), ("glue_rte", PAIR)]:
    config = task.removeprefix("glue_")
    lines = [[at, a, b, either[at % 2]] for at, (a, b) in two()]
    written(task, f"glue_{config}_v002", f"glue/{config}", "tsv", tsv(["index", *names, "label"], lines))

words = ["entailment", "contradiction", "neutral"]
made = {
    "boolq": [{"question": a, "passage": b, "label": at % 2 == 1, "idx": at} for at, (a, b) in two(TEXTS)],
    "cb": [{"premise": a, "hypothesis": b, "label": words[at % 3], "idx": at} for at, (a, b) in two(TEXTS)],
    "copa": [{key: row[key] for key in row} for row in copa],
    "rte": [{"premise": a, "hypothesis": b, "label": either[at % 2], "idx": at} for at, (a, b) in two(TEXTS)],
    "wic": [{**row, **places, "label": row["label"] == 1, "version": 1.1} for row in wic],
}
for task, lines in made.items():
    name, builder = f"super_glue_{task}_v102", f"super_glue/{task}"
    written(task, name, builder, "jsonl", jsonl(lines))
    unlabelled = [{key: value for key, value in line.items() if key != "label"} for line in lines[:2]]
    written(task, name, builder, "jsonl", jsonl(unlabelled), "test")

MARKED = "<b>Sent 1: </b>Ann's cat  slept.<br><b>Sent 2: </b>It <i>woke</i> &amp; ate.<br>\n<BR> <br/>"


def multirc(labelled):
    def answer(at, text):
        return {"idx": at, "text": text, **({"label": at % 2} if labelled else {})}

    questions = [
        {"idx": at, "question": question, "answers": [answer(at, TEXTS[at]), answer(at + 1, "<b>x</b> or<br>y")]}
        for at, question in enumerate(["Who <b>slept</b>?", *TEXTS[1:]])
    ]
    lines = [{"idx": 3, "version": 1.1, "passage": {"text": MARKED, "questions": questions}}]
    return jsonl([*lines, {"idx": 4, "passage": {"text": TEXTS[-1], "questions": questions[:1]}}])


for split in ["train", "test"]:
    text = multirc(split == "train")
    written("multirc", "super_glue_multirc_v102", "super_glue/multirc", "jsonl", text, split)


def spans(text, words):
    places = [(text.index(word), word) for word in words]
    return [{"start": at, "end": at + len(word) - 1} for at, word in places]


NEWS = [
    ("Ann Lee met Bob in \u00c5s. \"It's on,\" she said.\n@highlight\nThey talked\n@highlight\nBob left!\n@highlight\nAll's well", ["Bob", "Ann Lee", "\u00c5s", "Bob"]),
    ("One (2)  three?\n@highlight\nFour 'five'\n@highlight\n\n@highlight\nSix\"\n@highlight\n seven @highlight eight", ["three", "Four", "eight", "(2)"]),
]


def record(labelled):
    lines = []
    for at, (text, entities) in enumerate(NEWS):
        queries = [(f"{quoted} was with @placeholder, he's  said", entities[: 1 + n]) for n, quoted in enumerate(TEXTS[:4])]
        qas = [
            {"query": query, "idx": 10 * at + n, **({"answers": [{"text": a, "start": 0, "end": 1} for a in answers]} if labelled else {})}
            for n, (query, answers) in enumerate(queries)
        ]
        lines.append({"source": "Daily mail", "passage": {"text": text, "entities": spans(text, entities)}, "qas": qas, "idx": at})
    return jsonl(lines)


for split in ["train", "validation", "test"]:
    written("record", "super_glue_record_v102", "super_glue/record", "jsonl", record(split != "test"), split)

SCHEMAS = [
    ("Ann thanked Eve because she had helped .", ("Eve", 2), ("she", 4), True),
    ("Ann thanked Eve because she had helped .", ("Ann", 0), ("she", 4), False),
    ("When it's dark , the old dog , they say , hides behind his \"house\" .", ("The old dog.", 4), ("his", 13), True),
    ("Bob\u2019s  coat is blue since he likes it , he says", ("Bob\u2019s", 0), ("he", 6), True),
    ("I put the red hat on it , but it fell and it broke .", ("The red\nhat", 2), ("it", 6), True),
    ("Mr. Lee's sister , Dr. No , says that Mr. Lee takes her for granted .", ("Dr. No", 4), ("her", 12), False),
]


def wsc(labelled):
    return jsonl(
        {
            "text": text,
            "target": {"span1_text": noun, "span1_index": at, "span2_text": pronoun, "span2_index": there},
            "idx": row,
            **({"label": label} if labelled else {}),
        }
        for row, (text, (noun, at), (pronoun, there), label) in enumerate(SCHEMAS)
    )


for split in ["train", "test"]:
    name = f"super_glue_wsc_v102_simple_{'train' if split == 'train' else 'eval'}"
    written("wsc", name, "super_glue/wsc.fixed", "jsonl", wsc(split == "train"), split)
    written("wsc", WSC, "super_glue/wsc.fixed", "jsonl", wsc(split == "train"), split, "classify")

article = {
    "title": "T",
    "paragraphs": [
        {
            "context": context,
            "qas": [
                {
                    "id": f"q{at}",
                    "question": question,
                    "answers": [{"text": text, "answer_start": 7} for text in ANSWERS[at % len(ANSWERS)]],
                }
            ],
        }
        for at, (question, context) in two(TEXTS)
    ],
}
text = json.dumps({"version": "1.1", "data": [article]}, ensure_ascii=False)
written("squad", "squad_v010_allanswers", "squad/v1.1", "json", text)

# Real files.
for task, folder, files in [
    ("cola", "CoLA", ["dev.tsv"]),
    ("sst2", "SST-2", ["dev.tsv"]),
    ("mrpc", "MRPC", ["dev.tsv", "test.tsv"]),
    ("stsb", "STS-B", ["dev.tsv"]),
    ("qqp", "QQP", ["heldout_1k.tsv"]),
    ("mnli", "MNLI", ["heldout_1k.jsonl", "glue_layout_sample.tsv"]),
    ("qnli", "QNLI", ["heldout_1k.tsv", "dev.tsv"]),
    ("glue_rte", "RTE", ["dev.tsv"]),
]:
    config = task.removeprefix("glue_")
    for file in files:
        real(task, f"glue_{config}_v002", f"glue/{config}", f"glue/{folder}/{file}")
for task, folder, files in [
    ("boolq", "BoolQ", ["train32", "val"]),
    ("cb", "CB", ["train", "val"]),
    ("copa", "COPA", ["train", "val"]),
    ("multirc", "MultiRC", ["train32", "val"]),
    ("record", "ReCoRD", ["train32"]),
    ("rte", "RTE", ["val"]),
    ("wic", "WiC", ["val"]),
]:
    for file in files:
        split = "train" if task == "record" else "validation"
        real(task, f"super_glue_{task}_v102", f"super_glue/{task}", f"superglue/{folder}/{file}.jsonl", split)
for file, split, name in [("train", "train", "train"), ("val", "validation", "eval")]:
    path = f"superglue/WSC/{file}.jsonl"
    real("wsc", f"super_glue_wsc_v102_simple_{name}", "super_glue/wsc.fixed", path, split)
    real("wsc", WSC, "super_glue/wsc.fixed", path, split, "classify")
real("squad", "squad_v010_allanswers", "squad/v1.1", "qa/SQuAD-v1.1/dev-v1.1.json")
real("snli", "spot_snli_v110", "snli", "nli/SNLI/dev_9842.jsonl")
real("anli_r1", "spot_anli_r1_v010", "anli/r1", "nli/ANLI/test_r1_r2_r3.jsonl", columns=context)

packages = ["t5", "seqio", "tensorflow-cpu", "tensorflow-datasets"]
versions = {package: importlib.metadata.version(package) for package in packages}
versions["google-research/prompt-tuning"] = "72285eea"
out = ["{", f'"versions": {json.dumps(versions)},']
for key, values in [("rows", CASES), ("files", FILES)]:
    lines = ",\n".join(json.dumps(value, ensure_ascii=False) for value in values)
    out.append(f'"{key}": [\n{lines}\n]' + ("," if key == "rows" else ""))
print("\n".join([*out, "}"]))
