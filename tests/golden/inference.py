"""Writes inference.json: intervals, tests and reliabilities by SciPy, statsmodels and pingouin.

    pip install numpy scipy pandas statsmodels pingouin scikit-learn
    python tests/golden/inference.py > tests/golden/inference.json
"""

import itertools
import json
import platform

import numpy as np
import pandas
import pingouin
import scipy
import scipy.stats
import sklearn
import sklearn.metrics
import statsmodels
import statsmodels.stats.multitest

random = np.random.default_rng(20261128)


def t_intervals():
    for count in (2, 3, 5, 9, 40):
        values = random.normal(2.0, 5.0, size=count)
        interval = scipy.stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
        yield {"values": values.tolist(), "interval": [float(interval.low), float(interval.high)]}


def sign_flips():
    """Exact: SciPy visits every assignment of signs."""
    for count in (3, 5, 9, 12):
        values = np.round(random.normal(1.0, 2.0, size=count), 1)
        found = scipy.stats.permutation_test(
            (values,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
        )
        # SciPy doubles the smaller tail; counting means as far from 0 is the same thing for a symmetric distribution.
        yield {"values": values.tolist(), "p": float(found.pvalue)}


def correlation_permutations():
    """Exact p of Pearson's correlation if blocks of pairs are exchanged as a whole: all arrangements are visited."""
    for groups, size in ((4, 1), (6, 1), (5, 2), (6, 3)):
        x = random.normal(size=(groups, size)) * 0.2 + random.normal(size=(groups, 1))
        y = random.normal(size=(groups, size)) * 0.2 + 0.5 * x + random.normal(size=(groups, 1))
        r = lambda order: scipy.stats.pearsonr(x[list(order)].ravel(), y.ravel()).statistic
        found = np.array([r(order) for order in itertools.permutations(range(groups))])
        p = float(np.mean(np.abs(found) >= abs(found[0]) - 1e-12))
        if size == 1:
            free = scipy.stats.permutation_test(
                (x.ravel(),), lambda x: scipy.stats.pearsonr(x, y.ravel()).statistic, permutation_type="pairings",
                n_resamples=np.inf, alternative="two-sided", vectorized=False,
            )
            # SciPy doubles the smaller tail of a distribution that need not be symmetric.
            assert abs(free.pvalue - p) < 0.25, (free.pvalue, p)
        yield {"x": x.ravel().tolist(), "y": y.ravel().tolist(), "groups": np.repeat(range(groups), size).tolist(), "p": p}


def holm():
    for count in (1, 4, 16):
        values = random.uniform(0, 0.2, size=count)
        adjusted = statsmodels.stats.multitest.multipletests(values, method="holm")[1]
        yield {"p": values.tolist(), "adjusted": adjusted.tolist()}


def reliability():
    """Of the mean over runs, rows crossed with runs: ICC(3,k), in pingouin's newer naming ICC(C,k)."""
    for rows, runs in ((18, 3), (6, 2), (10, 5)):
        scores = 60 + 3 * random.normal(size=(rows, 1)) + 5 * random.normal(size=(1, runs))
        scores = scores + 2 * random.normal(size=(rows, runs))
        long = pandas.DataFrame(scores).reset_index().melt("index", var_name="run", value_name="score")
        table = pingouin.intraclass_corr(long, targets="index", raters="run", ratings="score").set_index("Type")
        name = "ICC3k" if "ICC3k" in table.index else "ICC(C,k)"
        yield {"scores": scores.tolist(), "reliability": float(table.loc[name, "ICC"])}


def chance():
    """What a random order of sources gets, by visiting all orders, and the best of k random ones, by visiting all choices."""
    for count in (2, 4, 6):
        scores = np.round(random.uniform(40, 90, size=count), 0)
        chosen_by = np.round(random.uniform(40, 90, size=count) / 20)  # with ties
        orders = list(itertools.permutations(range(count)))
        gains = scores - scores.min()
        predicted = [np.arange(count, 0, -1)]
        ndcg = np.mean([sklearn.metrics.ndcg_score([gains[list(order)]], predicted) for order in orders])
        # Of equal ones the first in a random order is taken.
        best = {
            k: float(np.mean([scores[max(order[:k], key=lambda i: chosen_by[i])] for order in orders]))
            for k in range(1, count + 1)
        }
        yield {"scores": scores.tolist(), "chosen_by": chosen_by.tolist(), "ndcg": float(ndcg), "best_of": best}


print(
    json.dumps(
        {
            "versions": {
                "python": platform.python_version(),
                "numpy": np.__version__,
                "scipy": scipy.__version__,
                "pandas": pandas.__version__,
                "statsmodels": statsmodels.__version__,
                "pingouin": pingouin.__version__,
                "scikit-learn": sklearn.__version__,
            },
            "t_intervals": list(t_intervals()),
            "sign_flips": list(sign_flips()),
            "correlation_permutations": list(correlation_permutations()),
            "holm": list(holm()),
            "reliability": list(reliability()),
            "chance": list(chance()),
        },
        indent=1,
    )
)
