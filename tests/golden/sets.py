"""Writes sets.json: measures of multi-label answers by scikit-learn, over the labels that are asked for or said.

    pip install numpy scikit-learn
    python tests/golden/sets.py > tests/golden/sets.json
"""

import json
import platform

import numpy as np
import sklearn
from sklearn.metrics import accuracy_score, f1_score
from sklearn.preprocessing import MultiLabelBinarizer

random = np.random.default_rng(20261129)
LABELS = ["joy", "anger", "fear", "no hope", "pride", "x"]


def text(labels):
    return ", ".join(labels) if labels else "none"


def case():
    count = int(random.integers(1, 30))
    share = random.choice([0.05, 0.3, 0.7])
    draw = lambda: [label for label in LABELS if random.random() < share]
    targets = [draw() for _ in range(count)]
    predictions = [list(target) if random.random() < 0.4 else draw() for target in targets]
    # The order of what is said does not count.
    for said in predictions:
        random.shuffle(said)
    sets = MultiLabelBinarizer(classes=LABELS)
    asked, said = sets.fit_transform(targets), sets.fit_transform(predictions)
    known = np.flatnonzero((asked + said).any(axis=0))
    f1 = lambda average, **more: 100 * f1_score(asked, said, average=average, zero_division=1, **more)
    return {
        "targets": [text(target) for target in targets],
        "predictions": [text(prediction) for prediction in predictions],
        "subset_accuracy": 100 * accuracy_score(asked, said),
        "samples_f1": f1("samples"),
        "micro_f1": f1("micro"),
        "macro_f1": f1("macro", labels=known) if len(known) else 100.0,
    }


golden = {
    "versions": {"python": platform.python_version(), "numpy": np.__version__, "scikit-learn": sklearn.__version__},
    "cases": [case() for _ in range(40)],
}
print(json.dumps(golden, indent=1))
