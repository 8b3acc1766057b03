"""Writes metrics.json: measures of random data by scikit-learn, SciPy and rouge-score, and by a plain SQuAD scorer written here.

The SQuAD scorer is compared with the official script, as transformers keeps it, where that has an opinion: the version
there is SQuAD 2.0's, in which an empty text is an answer.

    pip install numpy scipy scikit-learn rouge-score "transformers<5"
    python tests/golden/metrics.py > tests/golden/metrics.json
"""

import collections
import importlib.metadata
import json
import platform
import re
import string

import numpy as np
import scipy.special
import scipy.stats
import sklearn
import sklearn.metrics
from rouge_score import rouge_scorer
from transformers.data.metrics import squad_metrics

random = np.random.default_rng(20260101)


def classes():
    """Targets and predictions with outputs that are no class (-1), skewed and constant cases included."""
    for number in range(24):
        n_classes = 2 + number % 3
        count = int(random.integers(1, 60))
        skew = random.dirichlet(np.ones(n_classes) * random.choice([0.2, 1.0, 10.0]))
        targets = random.choice(n_classes, size=count, p=skew)
        noise = random.choice(np.arange(-1, n_classes), size=count)
        predictions = np.where(random.random(count) < 0.5, targets, noise)
        if number % 8 == 7:
            predictions = np.full(count, int(random.integers(-1, n_classes)))
        groups = [f"g{g}" for g in random.integers(0, 1 + count // 3, size=count)]
        by_group = collections.defaultdict(list)
        for group, target, prediction in zip(groups, targets, predictions):
            by_group[group].append(target == prediction)
        case = {
            "classes": n_classes,
            "targets": targets.tolist(),
            "predictions": predictions.tolist(),
            "groups": groups,
            "accuracy": 100 * sklearn.metrics.accuracy_score(targets, predictions),
            "macro_f1": 100 * sklearn.metrics.f1_score(
                targets, predictions, labels=range(n_classes), average="macro", zero_division=0
            ),
            "matthews": 100 * sklearn.metrics.matthews_corrcoef(targets, predictions),
            "group_exact_match": 100 * float(np.mean([all(right) for right in by_group.values()])),
        }
        if n_classes == 2:
            settled = np.where(predictions == -1, 1 - targets, predictions)
            case["binary_f1"] = 100 * sklearn.metrics.f1_score(targets, settled, zero_division=0)
        yield case


def correlations():
    for number in range(30):
        count = int(random.integers(3, 50))
        x = random.normal(size=count)
        y = random.normal(size=count) + random.choice([0.0, 0.3, 3.0, -30.0]) * x
        if number % 3 == 0:  # ties
            x, y = np.round(x, 0) + np.arange(count) % 2, np.round(y, 0) + np.arange(count) % 3
        if number % 3 == 1:  # similarities against scores: small spread on a large mean
            x, y = 0.5 + 0.01 * x, 80.0 + y
        pearson, spearman = scipy.stats.pearsonr(x, y), scipy.stats.spearmanr(x, y)
        yield {
            "x": x.tolist(),
            "y": y.tolist(),
            "pearson": {"r": float(pearson.statistic), "p": float(pearson.pvalue)},
            "spearman": {"r": float(spearman.statistic), "p": float(spearman.pvalue)},
        }


def incomplete_beta():
    for a in [0.5, 1.0, 2.5, 23.0, 500.0]:
        for b in [0.5, 1.0, 7.0]:
            for x in [1e-12, 0.01, 0.3, 0.5, 0.9, 0.9999]:
                yield {"a": a, "b": b, "x": x, "value": float(scipy.special.betainc(a, b, x))}


def normalized(text):
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def overlap(answer, prediction):
    answer, prediction = normalized(answer).split(), normalized(prediction).split()
    same = sum(min(answer.count(token), prediction.count(token)) for token in set(answer))
    if same == 0:
        return 0.0
    # The harmonic mean of precision and recall, written differently from the official script.
    return 2 * same / (len(answer) + len(prediction))


def squad():
    words = ["the", "a", "An", "Paris", "paris,", "$12", "12", "U.S.", "—", "über", "Theatre", "  ", "\t", "…the", "of", "O'Neil"]
    text = lambda: " ".join(random.choice(words, size=int(random.integers(0, 6))))
    for _ in range(12):
        count = int(random.integers(1, 20))
        answers = [[text() for _ in range(int(random.integers(1, 4)))] for _ in range(count)]
        predictions = [text() if random.random() < 0.6 else given[0].upper() for given in answers]
        pairs = list(zip(answers, predictions))
        for given, p in pairs:
            for a in given:
                assert squad_metrics.compute_exact(a, p) == (normalized(a) == normalized(p))
                if normalized(a) and normalized(p):
                    assert abs(squad_metrics.compute_f1(a, p) - overlap(a, p)) < 1e-12
        exact = [max(normalized(a) == normalized(p) for a in given) for given, p in pairs]
        yield {
            "answers": answers,
            "predictions": predictions,
            "exact_match": 100 * float(np.mean(exact)),
            "token_f1": 100 * float(np.mean([max(overlap(a, p) for a in given) for given, p in pairs])),
        }


def rouge():
    """ROUGE as `t5.evaluation.metrics.rouge` takes it of one example: no stemmer, and full stops between spaces end a sentence."""
    random = np.random.default_rng(20260102)
    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeLsum"])
    words = ["the", "The", "cat", "cat", "sat", "on", "mat", "dog's", "x-ray", "3.14", "naïve", "İstanbul", "Kelvin", "—", ".", ".", "\n"]
    few = ["a", "b", "c", "a", "."]

    def text(vocabulary, most):
        return " ".join(random.choice(vocabulary, size=int(random.integers(0, most))))

    pairs = [
        ("", ""), ("", "a"), ("a", ""), ("...", "..."), ("a", "A"), ("ÄÖ", "äö"), ("\n\n", "a"),
        ("the cat sat . the dog ran .", "the dog ran . the cat sat ."),
        ("w1 w2 w3 w4 w5", "w1 w2 w6 w7 w8 . w1 w3 w8 w9 w5"),  # the union of Lin 2004, section 3.2
        ("a a a", "a"), ("a", "a a a"), ("a b . a b", "a b"), ("police killed the gunman", "the gunman police killed"),
        ("one. two", "two. one"), ("a .\nb . c", "c\nb\na"), ("tab\tbetween", "tab between"), ("中文 text", "text 中文"),
    ]
    pairs += [(text(words, 30), text(words, 30)) for _ in range(80)]
    pairs += [(text(few, 25), text(few, 25)) for _ in range(80)]
    for target, prediction in pairs:
        summary = lambda text: text.replace(" . ", " .\n")
        scores = scorer.score(target=summary(target), prediction=summary(prediction))
        names = {"rouge1": "rouge1", "rouge2": "rouge2", "rouge_lsum": "rougeLsum"}
        yield {"target": target, "prediction": prediction} | {
            ours: 100 * scores[theirs].fmeasure for ours, theirs in names.items()
        }


golden = {
    "versions": {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "scikit-learn": sklearn.__version__,
        "rouge-score": importlib.metadata.version("rouge-score"),
        "transformers": importlib.metadata.version("transformers"),
    },
    "classes": list(classes()),
    "correlations": list(correlations()),
    "incomplete_beta": list(incomplete_beta()),
    "squad": list(squad()),
    "rouge": list(rouge()),
}
# One case a line keeps the file readable in a diff.
parts = []
for name, value in golden.items():
    if isinstance(value, list):
        lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in value)
        parts.append(f'"{name}": [\n{lines}\n]')
    else:
        parts.append(f'"{name}": {json.dumps(value)}')
print("{\n" + ",\n".join(parts) + "\n}")
