"""How should prompts begin, and at which step is a prompt an embedding of its task? Measured on the built-in world.

    python benches/beginnings.py [--spot target/debug/spot] [--cache FOLDER] > benches/results/beginnings-DATE.txt

Runs the profile `beginnings` of pipelines/spot_glue.yaml for independent beginnings (two sets of seeds) and for common origins (two
of them, the same seeds), each with embeddings of four steps and both similarities. Needs Python alone. A beginning takes some five
minutes on two cores; what is in the cache is not computed again.
"""

import argparse
import json
import statistics
import subprocess
import sys

BEGINNINGS = [
    ("independent", f"seeds {3 * i} to {3 * i + 2}", [f"vars.seeds=[{3 * i},{3 * i + 1},{3 * i + 2}]", f"vars.source_seeds=[{3 * i},{3 * i + 1}]"])
    for i in range(2)
] + [
    ("common origin", f"origin {i}", ["vars.seeds=[0,1,2]", "vars.source_seeds=[0,1]", f"vars.origin={i}"])
    for i in range(2)
]
STEPS = [10, 20, 40, 60]
METRICS = ["average_tokens", "per_token"]


def report(spot, cache, settings):
    common = ["spot_glue", "--profile", "beginnings", "--cache", cache]
    for setting in settings:
        common += ["--set", setting]
    subprocess.run([spot, "run", *common], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    found = subprocess.run([spot, "report", *common, "--format", "json"], check=True, capture_output=True)
    return json.loads(found.stdout)


def gain(results, name):
    (method,) = [method for method in results["methods"] if method["name"] == name]
    return method["change"]["mean"]


def table(header, rows):
    rows = [header, *rows]
    widths = [max(len(row[at]) for row in rows) for at in range(len(header))]
    for number, row in enumerate(rows):
        print(" | ".join(cell.ljust(width) if at < 2 else cell.rjust(width) for at, (cell, width) in enumerate(zip(row, widths))))
        if number == 0:
            print(" | ".join("-" * width for width in widths))
    print()


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--spot", default="target/debug/spot")
    arguments.add_argument("--cache", default="cache")
    given = arguments.parse_args()

    found = {}
    for kind, name, settings in BEGINNINGS:
        for step in STEPS:
            for metric in METRICS:
                more = [f"vars.embedding_step={step}", f"vars.similarity={metric}"]
                found[name, step, metric] = report(given.spot, given.cache, settings + more)
                print(f"{kind}, {name}, step {step}, {metric}", file=sys.stderr)

    print("Gains over prompt tuning in points (test split, mean over 9 targets), embeddings of step 60, average tokens\n")
    rows = {
        "random source": "random source, expected",
        "top 1": "best of top 1",
        "3 random": "best of 3 random sources, expected",
        "top 3": "best of top 3",
        "brute force": "brute force",
        "other seeds": "oracle, chosen on other seeds",
        "maximum": "oracle, the maximum",
    }
    lines, by_kind = [], {}
    for kind, name, _ in BEGINNINGS:
        results = found[name, 60, "average_tokens"]
        values = [results["methods"][0]["score"]["mean"]] + [gain(results, row) for row in rows.values()]
        by_kind.setdefault(kind, []).append(values)
        lines.append([kind, name, f"{values[0]:.1f}"] + [f"{value:+.1f}" for value in values[1:]])
    for kind, values in by_kind.items():
        means = [statistics.mean(column) for column in zip(*values)]
        lines.append([kind, "mean", f"{means[0]:.1f}"] + [f"{value:+.1f}" for value in means[1:]])
    table(["prompts begin", "which", "baseline", *rows], lines)

    print("Do embeddings follow tasks or seeds, and do they tell what helps? Means over two beginnings, their range in brackets\n")
    lines = []
    for kind in by_kind:
        names = [name for of, name, _ in BEGINNINGS if of == kind]
        for metric in METRICS:
            for step in STEPS:
                all_results = [found[name, step, metric] for name in names]
                separation = [results["separation"] for results in all_results]
                overall = [results["prediction"]["overall"] for results in all_results]
                auc = [one["told_apart"] for one in separation]
                rho = [one["mean_spearman"] for one in overall]
                own = sum(one["own_seed_first"] for one in separation)
                chance = sum(one["own_seed_by_chance"] for one in separation)
                mean = lambda key, of: statistics.mean(one[key] for one in of)
                lines.append(
                    [
                        kind,
                        metric,
                        str(step),
                        f"{mean('same_task', separation):.3f}",
                        f"{mean('same_seed', separation):.3f}",
                        f"{mean('neither', separation):.3f}",
                        f"{statistics.mean(auc):.3f} ({min(auc):.2f} to {max(auc):.2f})",
                        f"{own} of {sum(one['rankings'] for one in separation)} ({chance:.0f})",
                        f"{statistics.mean(rho):+.3f} ({min(rho):+.2f} to {max(rho):+.2f})",
                        f"{mean('regret', overall):.1f}",
                        f"{mean('regret_by_chance', overall):.1f}",
                    ]
                )
    header = ["prompts begin", "similarity", "step", "same task", "same seed", "neither", "told apart"]
    table(header + ["own seed first (chance)", "Spearman with scores", "regret@1", "chance"], lines)


main()
