"""Writes clustering.json: hierarchical clusterings of random matrices by SciPy.

    pip install numpy scipy
    python tests/golden/clustering.py > tests/golden/clustering.json
"""

import json
import platform

import numpy as np
import scipy
from scipy.cluster import hierarchy

random = np.random.default_rng(20260104)


def steps(linkage):
    return [[int(a), int(b), float(distance), int(size)] for a, b, distance, size in linkage]


def case(linkage, **data):
    # The order of the drawing is the order of a plain depth-first walk.
    leaves = hierarchy.leaves_list(linkage).tolist()
    assert hierarchy.dendrogram(linkage, no_plot=True)["leaves"] == leaves
    return {**data, "steps": steps(linkage), "leaves": leaves}


def cases():
    for method in ["average", "complete", "single", "weighted", "ward"]:
        for count in [2, 3, 7, 16, 26]:
            rows = random.normal(size=(count, int(random.integers(1, 12))))
            if count == 26:  # similarities: a small spread on a large mean
                rows = 0.5 + 0.01 * rows
            rows = np.round(rows, 6)
            yield case(hierarchy.linkage(rows, method=method), method=method, rows=rows.tolist())
            distances = np.round(random.uniform(0.1, 2.0, size=count * (count - 1) // 2), 6)
            yield case(hierarchy.linkage(distances, method=method), method=method, distances=distances.tolist())


versions = {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__}
lines = ",\n".join(json.dumps(case) for case in cases())
print(f'{{"versions": {json.dumps(versions)},\n"cases": [\n{lines}\n]}}')
