"""HyperQueue runs the job file of a study: what it makes is what a local run makes.

    python3 tools/attacks/hq.py [--spot PROGRAM] [--cores 4] [--jobs 40]

Needs the package `hyperqueue` (0.27), which has server and workers, but not the program `hq`: so the file is read here by Python's own
reader of TOML, and its tasks are submitted as they stand there, with what each waits for. The status is 0 if results are equal.
"""

import argparse
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from hyperqueue import Job, LocalCluster
from hyperqueue.cluster import WorkerConfig

MANIFEST = """\
version: 1
name: many
stages:
  leaf:
    kind: command
    matrix: {{i: {numbers}}}
    run: [sh, -c, 'echo $0 >> {log}; echo made $0 > "$SPOT_OUT/o.txt"', "${{i}}"]
    outputs: [o.txt]
  sum:
    kind: command
    run: [sh, -c, 'cat "$SPOT_IN_leaf"/* | sort > "$SPOT_OUT/all.txt"']
    sets: {{leaf: "leaf[*].o.txt"}}
    outputs: [all.txt]
"""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--spot", default="target/debug/spot", type=Path)
    parser.add_argument("--cores", default=4, type=int)
    parser.add_argument("--jobs", default=40, type=int)
    arguments = parser.parse_args()
    spot = str(arguments.spot.resolve())
    with tempfile.TemporaryDirectory() as base:
        folder, log = Path(base, "project"), Path(base, "log")
        (folder / "pipelines").mkdir(parents=True)
        (folder / "pipelines" / "many.yaml").write_text(MANIFEST.format(numbers=list(range(arguments.jobs)), log=log))

        def run(*words):
            return subprocess.run([spot, *words], cwd=folder, check=True, capture_output=True, text=True)

        file = tomllib.loads(run("graph", "many", "--format", "hq").stdout)
        job, tasks = Job(), {}
        for task in file["task"]:
            assert task["request"][0]["resources"] == {"cpus": 1}, task
            after = [tasks[needed] for needed in task["deps"]]
            tasks[task["id"]] = job.program(task["command"], cwd=task["cwd"], deps=after, name=str(task["id"]))
        with LocalCluster(server_dir=str(Path(base, "server")), worker_config=WorkerConfig(cores=arguments.cores)) as cluster:
            client = cluster.client()
            client.wait_for_jobs([client.submit(job)])
        ran = sorted(log.read_text().split(), key=int)
        again = run("run", "many", "--format", "json").stdout.splitlines()[-1]
        run("run", "many", "--cache", "local")
        made, local = (folder / cache / "v1/views/many/sum/all.txt" for cache in ("cache", "local"))
        right = ran == [str(i) for i in range(arguments.jobs)] and '"executed":0' in again and made.read_bytes() == local.read_bytes()
        print(f"{len(tasks)} tasks on {arguments.cores} cores, each executed once: {right}\n{again}")
        return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
