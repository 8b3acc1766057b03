"""Writes retrieval.json: quality of rankings by scikit-learn, bootstrap intervals by SciPy.

    pip install numpy scipy scikit-learn
    python tests/golden/retrieval.py > tests/golden/retrieval.json
"""

import json
import platform

import numpy as np
import scipy
import scipy.stats
import sklearn
import sklearn.metrics

random = np.random.default_rng(20261125)


def ndcg():
    """Scores in the order of a ranking; the gain of a source is its score above the worst."""
    for number in range(24):
        count = int(random.integers(2, 30))
        scores = random.uniform(20, 95, size=count)
        if number % 3 == 0:  # ties
            scores = np.round(scores / 10) * 10
        if np.ptp(scores) == 0:
            continue
        # The ranking's own order as predicted relevance, without ties.
        predicted = np.arange(count, 0, -1)
        value = sklearn.metrics.ndcg_score([scores - scores.min()], [predicted])
        yield {"scores": scores.tolist(), "ndcg": float(value)}


def bootstrap():
    for count in (6, 10, 25, 40):
        values = random.normal(2.0, 5.0, size=count)
        found = scipy.stats.bootstrap(
            (values,), np.mean, n_resamples=200_000, confidence_level=0.95, method="percentile", rng=random
        )
        interval = found.confidence_interval
        yield {"values": values.tolist(), "interval": [float(interval.low), float(interval.high)]}


print(
    json.dumps(
        {
            "versions": {
                "python": platform.python_version(),
                "numpy": np.__version__,
                "scipy": scipy.__version__,
                "scikit-learn": sklearn.__version__,
            },
            "ndcg": list(ndcg()),
            "bootstrap": list(bootstrap()),
        },
        indent=1,
    )
)
