"""Writes generation.json: BLEU by sacreBLEU with the settings of T5, SARI by Hugging Face's `evaluate`, DROP's measures by lm-eval.

`evaluate` keeps its metrics in its repository and not in its package: `metrics/sari/sari.py` of it (of huggingface/datasets, before June
2022) is the first argument. lm-eval's task of DROP is its own copy of the official script's logic.

    pip install sacrebleu sacremoses lm-eval numpy scipy
    python tests/golden/generation.py sari.py > tests/golden/generation.json
"""

import importlib.metadata
import importlib.util
import json
import platform
import random
import sys
import types

import sacrebleu

SEED = 20261129
draw = random.Random(SEED)

WORDS = (
    "the a an cat dog sat sits on mat in house It's 3,000 4 4.0 1e3 -5 km (ca.) well-known €5 $12.50 don't U.S. "
    "naïve Größe 北京 café, end. \"quoted\" semi;colon & <tag> run running ran big large small tiny"
).split()


def text(least, most):
    return " ".join(draw.choices(WORDS, k=draw.randint(least, most)))


def changed(words, share):
    """The text with some words left out, exchanged or doubled."""
    kept = []
    for word in words.split():
        chance = draw.random()
        if chance < share / 3:
            continue
        kept.append(draw.choice(WORDS) if chance < share / 2 else word)
        if chance > 1 - share / 6:
            kept.append(word)
    return " ".join(kept)


def bleu():
    for number in range(24):
        count = draw.randint(1, 6)
        answers = [[text(3, 20) for _ in range(1 + number % 3)] for _ in range(count)]
        share = [0.0, 0.3, 0.8, 1.0][number % 4]
        predictions = [changed(draw.choice(those), share) for those in answers]
        if number % 8 == 7:
            predictions = [text(0, 4) for _ in answers]
        references = [list(column) for column in zip(*answers)]
        score = sacrebleu.corpus_bleu(
            predictions, references, smooth_method="exp", smooth_value=0.0, force=False, lowercase=False,
            tokenize="intl", use_effective_order=False,
        )
        yield {"answers": answers, "predictions": predictions, "score": score.score}


def loaded(path):
    """A file as a module, without the package that it is in."""
    spec = importlib.util.spec_from_file_location("loaded", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sari(path):
    # The file also defines a class of an old `datasets`; only its functions are wanted.
    stub = types.ModuleType("datasets")
    stub.Metric = object
    stub.utils = types.SimpleNamespace(file_utils=types.SimpleNamespace(add_start_docstrings=lambda *_: lambda it: it))
    sys.modules["datasets"] = stub
    module = loaded(path)
    del sys.modules["datasets"]
    for number in range(24):
        source = text(4, 18)
        answers = [changed(source, 0.5) for _ in range(1 + number % 3)]
        prediction = [source, changed(source, 0.5), answers[0], text(1, 6), ""][number % 5]
        score = module.SARIsent(
            module.normalize(source), module.normalize(prediction), [module.normalize(answer) for answer in answers]
        )
        yield {"source": source, "answers": answers, "prediction": prediction, "score": 100 * score}


def drop():
    package = importlib.util.find_spec("lm_eval").submodule_search_locations[0]
    get_metrics = loaded(f"{package}/tasks/drop/utils.py").get_metrics
    spans = ["4", "4.0", "5 goals", "4 goals", "The Bears", "bears", "a well-known dog", "May 1932", "1932", "$12.50", "3,000", "an end."]
    for number in range(60):
        answer = draw.sample(spans, draw.randint(1, 1 + number % 4))
        prediction = draw.sample(answer, draw.randint(1, len(answer)))
        if number % 3:
            prediction = [changed(span, 0.4) or "x" for span in prediction] + draw.sample(spans, draw.randint(0, 2))
        draw.shuffle(prediction)
        exact_match, f1 = get_metrics(tuple(prediction), tuple(answer))
        yield {"answer": answer, "prediction": prediction, "exact_match": float(exact_match), "f1": float(f1)}


packages = ["sacrebleu", "lm-eval", "scipy", "numpy"]
made_by = {"python": platform.python_version(), "seed": SEED}
made_by.update({name: importlib.metadata.version(name) for name in packages})
made_by["sari"] = "metrics/sari/sari.py of huggingface/datasets at 097b8e48"
golden = {"made_by": made_by, "bleu": list(bleu()), "sari": list(sari(sys.argv[1])), "drop": list(drop())}
json.dump(golden, sys.stdout, ensure_ascii=False, indent=1)
print()
