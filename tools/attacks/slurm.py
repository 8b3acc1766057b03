"""Workers of a Slurm array on a private cluster of this machine: equal results, their cost, and what becomes of a run when things die.

    python3 tools/attacks/slurm.py smoke                       # pipelines/smoke.yaml here and by 4 workers
    python3 tools/attacks/slurm.py many    [--jobs 1000] [--workers 16]
    python3 tools/attacks/slurm.py chaos   [--rounds 6] [--seed 0]
    python3 tools/attacks/slurm.py refused                     # bad options, no controller, a cancelled run, a dead array
    python3 tools/attacks/slurm.py all

Needs root, munged, slurmctld, slurmd and Slurm's commands (Debian: `apt-get install --no-install-recommends slurmctld slurmd
slurm-client munge`), and nothing of them that runs already: the cluster lives in a folder of its own, on free ports of loopback, with
pretend CPUs, and is taken down in the end. Python's standard library is enough. A seed gives the same attacks in the same order;
what they meet still depends on the machine. The status is 0 if nothing was wrong, stuck or refused in other words than expected.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import datetime
from pathlib import Path

from project import Table, environment

HERE = Path(__file__).resolve().parents[2]

# A cluster of one node. A requeued task waits for `cred_expire` seconds, a node is given up after SlurmdTimeout, and a task that is
# asked to end has KillWait; elsewhere these are 120, 300 and 30.
CONFIGURATION = """ClusterName=attacked
SlurmctldHost={node}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={place}/munge.sock,cred_expire=3
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={place}/jobs.txt
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1
ReturnToService=2
MinJobAge=20
InactiveLimit=0
KillWait=5
SlurmdTimeout=10
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd.pid
SlurmctldLogFile={place}/slurmctld.log
SlurmdLogFile={place}/slurmd.log
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmdParameters=config_overrides
TaskProlog={place}/prolog
NodeName={node} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=main Nodes={node} Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes={node} MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=OFF
"""

# With SPOT_ATTACK_NODES every fourth worker has one disk, as if the array ran on four nodes.
PROLOG = """#!/bin/sh
if [ -n "$SPOT_ATTACK_NODES" ]; then echo "export SPOT_CACHE=$SPOT_ATTACK_NODES/node-$((SLURM_ARRAY_TASK_ID % 4))"; fi
"""

# Where workers tell each other who does what: by locks and by leases in one cache, and by leases in a store before caches of their own.
HOW = ["cache", "leases", "store"]
# So long may a run take before it counts as stuck, in seconds.
PATIENCE = 900
# So often may a run that ended without all results be started again.
STARTS = 4


class Cluster:
    """munged, slurmctld and slurmd of our own, which are killed and started by name."""

    NAMES = ["munged", "slurmctld", "slurmd"]

    def __init__(self, cpus):
        self.place = Path(tempfile.mkdtemp(prefix="spot-slurm-"))
        self.processes, self.cpus = {}, cpus
        self.configuration = self.place / "slurm.conf"
        self.environment = environment() | {"SLURM_CONF": str(self.configuration)}
        self.environment["PATH"] = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"

    def __enter__(self):
        for folder in ["state", "spool", "munge"]:
            (self.place / folder).mkdir(mode=0o700)
        key = self.place / "munge" / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        memory = int(Path("/proc/meminfo").read_text().split()[1]) * 9 // 10240
        prolog = self.place / "prolog"
        prolog.write_text(PROLOG)
        prolog.chmod(0o755)
        node, user = socket.gethostname().split(".")[0], "root"
        filled = {"place": self.place, "node": node, "user": user, "cpus": self.cpus, "memory": memory, "ports": free_ports(2)}
        self.configuration.write_text(CONFIGURATION.format(**filled))
        try:
            for name in self.NAMES:
                self.start(name)
            self.wait_for("an idle node", lambda: self.ask("sinfo", "-h", "-o", "%T").out.strip() == "idle")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for name in reversed(self.NAMES):
            self.kill(name, signal.SIGTERM)
        for pid in self.own():
            end(pid)
        shutil.rmtree(self.place, ignore_errors=True)

    def start(self, name):
        munge = self.place / "munge"
        # --force: munged otherwise refuses a folder in one that others may write to.
        files = {"socket": self.place / "munge.sock", "key-file": munge / "key", "pid-file": munge / "pid", "log-file": munge / "log", "seed-file": munge / "seed"}
        commands = {
            "munged": ["munged", "--foreground", "--force", *(f"--{what}={path}" for what, path in files.items())],
            "slurmctld": ["slurmctld", "-D", "-f", self.configuration],
            "slurmd": ["slurmd", "-D", "-f", self.configuration],
        }
        with open(self.place / f"{name}.out", "ab") as out:
            process = subprocess.Popen(commands[name], env=self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
        self.processes[name] = process
        if name == "munged":
            self.wait_for("munge", (self.place / "munge.sock").exists)

    def kill(self, name, how=signal.SIGKILL):
        process = self.processes.pop(name, None)
        if process is not None and process.poll() is None:
            process.send_signal(how)
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def revive(self):
        """Starts what was killed."""
        for name in self.NAMES:
            if name not in self.processes:
                self.start(name)

    def ask(self, *words, timeout=120):
        done = subprocess.run([str(word) for word in words], env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout)
        return Answer(done)

    def wait_for(self, what, is_so, seconds=60):
        until = time.monotonic() + seconds
        while not is_so():
            if time.monotonic() > until:
                raise SystemExit(f"the cluster in {self.place} has not come up: no {what} within {seconds} s")
            time.sleep(0.1)

    def queue(self):
        """The tasks that are not done, by their names, with their states."""
        lines = self.ask("squeue", "-h", "-r", "-o", "%i|%T").out.split()
        return dict(line.split("|") for line in lines)

    def is_empty(self):
        answer = self.ask("squeue", "-h", "-r", "-o", "%i")
        return answer.status == 0 and not answer.out.strip()

    def own(self):
        """The processes that the cluster started, by its configuration in their environment."""
        return [pid for pid, variables in processes() if variables.get("SLURM_CONF") == str(self.configuration) and pid != os.getpid()]

    def workers(self):
        """The processes of workers, and what task each is."""
        found = {}
        for pid, variables in processes():
            if variables.get("SLURM_CONF") == str(self.configuration) and "SLURM_ARRAY_TASK_ID" in variables and "--worker" in command_line(pid):
                found[pid] = f"{variables['SLURM_ARRAY_JOB_ID']}_{variables['SLURM_ARRAY_TASK_ID']}"
        return found

    def tasks(self):
        """The tasks of ours that have ended so far, each once however often it was requeued."""
        path = self.place / "jobs.txt"
        return set(re.findall(r"^JobId=(\d+) .*\bName=spot-", path.read_text(), re.MULTILINE)) if path.exists() else set()

    def emptied(self):
        """Cancels what is in the queue and waits until nothing is."""
        self.revive()
        until = time.monotonic() + 120
        while time.monotonic() < until:
            if self.is_empty() and not self.workers():
                return
            self.ask("scancel", "-u", "root")
            time.sleep(1)
        for pid in self.workers():
            end(pid)


class Answer:
    """How a command ended."""

    def __init__(self, done):
        self.status, self.out, self.err = done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")

    @property
    def said(self):
        """The last line that is not empty."""
        lines = [line.strip() for line in (self.out + "\n" + self.err).splitlines() if line.strip()]
        return lines[-1] if lines else "nothing"


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def processes():
    """The processes of this machine whose environment may be read, with it."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                words = Path(entry.path, "environ").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            yield int(entry.name), dict(word.split("=", 1) for word in words if "=" in word)


def command_line(pid):
    try:
        return Path("/proc", str(pid), "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def end(pid, how=signal.SIGKILL):
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        pass


class Study:
    """A project whose pipeline is run here or through the cluster. Paths are part of what programs are told, so that a pipeline has
    the same keys only where its log is."""

    def __init__(self, place, cluster, spot, name, manifest, how="cache"):
        self.place, self.cluster, self.spot, self.name = Path(place), cluster, spot, name
        (self.place / "pipelines").mkdir(parents=True, exist_ok=True)
        (self.place / "pipelines" / f"{name}.yaml").write_text(manifest)
        self.environment = cluster.environment | {"SPOT_SLURM_SECONDS": "1", "SPOT_LEASE_SECONDS": "5"}
        self.store = []
        if how == "leases":
            self.environment["SPOT_LEASES"] = "always"
        if how == "store":
            self.store = ["--store", f"file://{self.place}/store"]
            self.environment["SPOT_ATTACK_NODES"] = str(self.place)

    def start(self, *words):
        """Starts a command whose words go to files."""
        out = open(self.place / "client.log", "ab")
        process = subprocess.Popen([self.spot, *words], cwd=self.place, env=self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
        out.close()
        return process

    def run(self, *words, timeout=PATIENCE, more=None):
        process = [self.spot, *words]
        try:
            done = subprocess.run(process, cwd=self.place, env=self.environment | (more or {}), stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout)
        except subprocess.TimeoutExpired as late:
            done = subprocess.CompletedProcess(process, None, late.stdout or b"", late.stderr or b"")
        return Answer(done)

    def submitting(self, workers, *more):
        return ["run", self.name, *self.store, "--executor", "slurm", "--workers", str(workers), "--progress", "5", *more]

    def last_words(self):
        path = self.place / "client.log"
        return path.read_text(errors="replace").strip()[-400:] if path.exists() else ""

    def results(self):
        """What the pipeline made, by key. A store is asked by a machine that has nothing yet, and that must not execute anything."""
        cache = "cache"
        if self.store:
            cache = "asked"
            shutil.rmtree(self.place / cache, ignore_errors=True)
        asked = self.run("run", self.name, *self.store, "--cache", cache, "--format", "json", "--progress", "0")
        executed = [line for line in asked.out.splitlines() if event(line).get("state") == "executed"]
        if asked.status != 0 or executed:
            return None, f"a run behind it ended with {asked.status} and executed {len(executed)} jobs: {asked.said}"
        return contents(self.place / cache), ""


def event(line):
    try:
        read = json.loads(line)
        return read if isinstance(read, dict) else {}
    except ValueError:
        return {}


def contents(cache):
    """The digests of what every entry of a cache has, by its key."""
    found = {}
    for path in (cache / "v1" / "entries").glob("??/*.json"):
        entry = json.loads(path.read_text())
        found[entry["key"]] = [(one["name"], one["digest"], one["sha256"], [part["digest"] for part in one["parts"]]) for one in entry["artifacts"]]
    return found


def provenance(cache):
    """What is known of how each entry was made."""
    return [json.loads(path.read_text())["provenance"] for path in (cache / "v1" / "entries").glob("??/*.json")]


def unlike(found, expected):
    """What is not as in a run of one process."""
    wrong = [f"{key[:12]} is missing" for key in expected if key not in found]
    wrong += [f"{key[:12]} is too much" for key in found if key not in expected]
    return wrong + [f"{key[:12]} has other bytes" for key in expected if key in found and found[key] != expected[key]]


def programs(place, jobs, wait):
    """A pipeline of programs that write into a log that they began, wait and make a line: many, a second on every tenth of them, and
    one on all. `wait` is what the shell puts for the seconds of number $2."""
    script = f'echo "$1" >> {place}/log\nsleep "{wait}"\necho "$1" > "$SPOT_OUT/made"\n'
    Path(place, "job.sh").write_text(script)
    listed = ", ".join(str(number) for number in range(jobs))
    tenth = ", ".join(str(number) for number in range(0, jobs, 10))
    return f"""version: 1
name: attacked
stages:
  first:
    kind: command
    matrix: {{at: [{listed}]}}
    run: [sh, "{{script}}", "first-${{at}}", "${{at}}"]
    inputs: {{script: job.sh}}
    outputs: [made]
  second:
    kind: command
    matrix: {{at: [{tenth}]}}
    run: [sh, "{{script}}", "second-${{at}}", "${{at}}"]
    inputs: {{script: job.sh, before: {{output: "first[${{at}}].made"}}}}
    outputs: [made]
  all: {{kind: command, run: [sh, "{{script}}", all, "0"], inputs: {{script: job.sh}}, sets: {{first: "first[*].made", second: "second[*].made"}}, outputs: [made]}}
"""


def begun(study):
    """How often each program was begun since the log was put aside."""
    path = study.place / "log"
    return Counter(path.read_text().split()) if path.exists() else Counter()


def here(study, *words, cache="here"):
    """The results of a run of one process, which nothing disturbs; how long it took."""
    began = time.monotonic()
    done = study.run("run", study.name, "--cache", cache, "--progress", "0", *words)
    took = time.monotonic() - began
    if done.status != 0:
        raise SystemExit(f"the run of one process ended with {done.status}:\n{done.err}")
    (study.place / "log").unlink(missing_ok=True)
    return contents(study.place / cache), took


def say(text):
    print(text, flush=True)


def smoke(arguments, cluster, faults):
    """The study of the tests."""
    manifest = (HERE / "pipelines" / "smoke.yaml").read_text()
    for how in HOW:
        with folder(arguments) as place:
            study = Study(place, cluster, arguments.spot, "smoke", manifest, how)
            expected, alone = here(study)
            before, began = cluster.tasks(), time.monotonic()
            done = study.run(*study.submitting(4))
            took = time.monotonic() - began
            found, why = study.results()
            cluster.emptied()
            tasks = len(cluster.tasks() - before)
            wrong = unlike(found, expected) if found is not None else [why]
            say(f"smoke, {how}: {len(expected)} results, {alone:.1f} s by one process, {took:.1f} s by 4 workers of {tasks} Slurm tasks")
            faults.check(f"smoke, {how}", done.status == 0, f"ended with {done.status}: {done.said}")
            faults.check(f"smoke, {how}", not wrong, "; ".join(wrong[:5]))
            faults.check(f"smoke, {how}", tasks <= 20, f"{tasks} Slurm tasks")


def many(arguments, cluster, faults):
    """What a job costs that does nothing for a fifth of a second."""
    for how in HOW:
        with folder(arguments) as place:
            study = Study(place, cluster, arguments.spot, "attacked", programs(place, arguments.jobs or 1000, "0.2"), how)
            expected, alone = here(study, "--jobs", str(arguments.workers))
            took_alone = sum(one["seconds"] for one in provenance(study.place / "here"))
            before, began = cluster.tasks(), time.monotonic()
            done = study.run(*study.submitting(arguments.workers, "--jobs", "1"))
            took = time.monotonic() - began
            found, why = study.results()
            cluster.emptied()
            tasks = len(cluster.tasks() - before)
            wrong = unlike(found, expected) if found is not None else [why]
            entries = provenance(study.place / ("asked" if study.store else "cache"))
            work = sum(one["seconds"] for one in entries)
            times = [instant(one[side]) for one in entries for side in ("start", "end")]
            span = max(times) - min(times) if times else 0
            each = [1000 * (wall * arguments.workers - busy) / len(expected) for wall, busy in [(alone, took_alone), (took, work), (span, work)]]
            count, runs = sum(begun(study).values()), len(expected)
            say(f"many, {how}: {runs} jobs, {arguments.workers} at a time, {tasks} Slurm tasks, begun {count} times")
            say(f"  one process    {alone:6.1f} s, {each[0]:6.0f} ms of a worker a job beside its own time")
            say(f"  the array      {took:6.1f} s, {each[1]:6.0f} ms; from the first job's begin to the last one's end {span:.1f} s, {each[2]:.0f} ms")
            faults.check(f"many, {how}", done.status == 0, f"ended with {done.status}: {done.said}")
            faults.check(f"many, {how}", not wrong, "; ".join(wrong[:5]))
            faults.check(f"many, {how}", tasks <= 20, f"{tasks} Slurm tasks")
            faults.check(f"many, {how}", count <= 1.02 * runs, f"{count} programs were begun for {runs} jobs")


def instant(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


ATTACKS = ["requeue", "preempt", "notice", "worker", "pause", "slurmd", "slurmctld", "client"]


def chaos(arguments, cluster, faults):
    """Runs while somebody kills what they consist of."""
    table = Table(["rounds", "jobs", "begun", *ATTACKS, "tasks", "gave up", "wrong", "stuck"])
    for number in range(arguments.rounds):
        how = HOW[number % len(HOW)]
        chance = random.Random(f"{arguments.seed} {number}")
        with folder(arguments) as place:
            manifest = programs(place, arguments.jobs or 120, "$(( $2 * 7919 % 3 )).$(( $2 * 104729 % 10 ))")
            study = Study(place, cluster, arguments.spot, "attacked", manifest, how)
            expected, _ = here(study, "--jobs", "32")
            before = cluster.tasks()
            what = f"chaos, {how}, round {number}"
            try:
                ended = attacked(study, cluster, chance, table, how, arguments.of or ATTACKS)
            finally:
                cluster.revive()
            found, why = study.results() if ended else (None, "not all results were there in time")
            cluster.emptied()
            count = begun(study)
            table.add(how, "rounds")
            table.add(how, "jobs", len(expected))
            table.add(how, "begun", sum(count.values()))
            table.add(how, "tasks", len(cluster.tasks() - before))
            wrong = unlike(found, expected) if found is not None else [why]
            table.add(how, "stuck", int(not ended))
            table.add(how, "wrong", int(ended and bool(wrong)))
            if wrong:
                faults.add(what, f"{'; '.join(wrong[:5])}; the client said: {study.last_words()}", study)
            often = [f"{name} {times} times" for name, times in count.most_common(3) if times > 2]
            say(f"{what}: {len(expected)} jobs, begun {sum(count.values())} times{'; ' + ', '.join(often) if often else ''}\n{table}")
    return table


def attacked(study, cluster, chance, table, how, kinds):
    """A run and attacks on it; whether it ended well at last."""
    command = study.submitting(8, "--jobs", "1")
    client, starts, attacks, later = study.start(*command), 0, 14, []
    next_attack = time.monotonic() + chance.uniform(2, 5)
    until = time.monotonic() + PATIENCE / 3
    while time.monotonic() < until:
        now = time.monotonic()
        for due in [one for one in later if one[0] <= now]:
            later.remove(due)
            due[1]()
        if client.poll() is not None:
            if client.returncode == 0:
                break
            if client.returncode != -signal.SIGKILL:
                table.add(how, "gave up")
                starts += 1
                if starts > STARTS:
                    break
                say(f"  the client ended with {client.returncode}: {study.last_words()[-200:]}")
                cluster.revive()
            client = study.start(*command)
        if attacks and now >= next_attack:
            attack = chance.choice(kinds)
            if strike(attack, study, cluster, chance, client, later):
                table.add(how, attack)
                attacks -= 1
            next_attack = time.monotonic() + chance.uniform(0.5, 3)
        time.sleep(0.05)
    for _, act in later:
        act()
    if client.poll() is None:
        client.kill()
    return client.wait() == 0


def strike(attack, study, cluster, chance, client, later):
    """One attack; whether there was something to attack."""
    pause = time.monotonic() + chance.choice([1, 3, 8, 15])
    if attack == "client":
        client.kill()
        return True
    if attack in ("slurmd", "slurmctld"):
        if attack not in cluster.processes:
            return False
        cluster.kill(attack)
        later.append((pause, lambda: attack in cluster.processes or cluster.start(attack)))
        return True
    if attack == "preempt":
        # Somebody whose work is more urgent takes the whole node.
        asked = "slurmctld" in cluster.processes and cluster.ask("sbatch", "--partition=urgent", f"--ntasks={cluster.cpus}", "--output=/dev/null", "--wrap", "sleep 2")
        return bool(asked) and asked.status == 0
    workers = cluster.workers()
    if not workers:
        return False
    pid = chance.choice(sorted(workers))
    if attack == "worker":
        end(pid)
    elif attack == "notice":
        end(pid, signal.SIGUSR1)
    elif attack == "pause":
        end(pid, signal.SIGSTOP)
        later.append((pause, lambda: end(pid, signal.SIGCONT)))
    elif "slurmctld" in cluster.processes:
        return cluster.ask("scontrol", "requeue", workers[pid]).status == 0
    else:
        return False
    return True


def refused(arguments, cluster, faults):
    """What is said where Slurm does not do what it is asked."""
    for check in CHECKS:
        if arguments.only and check.__name__ not in arguments.only:
            continue
        with folder(arguments) as place:
            # By leases, so that workers are known and shown.
            study = Study(place, cluster, arguments.spot, "attacked", programs(place, 40, "$(( $2 % 3 + 1 ))"), "leases")
            check(study, cluster, lambda good, text, what=check.__name__, study=study: faults.check(what, good, text, study))
            cluster.emptied()


def options(study, cluster, check):
    """Options that Slurm or we refuse."""
    for slurm, says, status in [
        ("--partition=nope", "invalid partition", 5),
        ("--constraint=nope", "Invalid feature specification", 5),
        ("--time=soon", "Invalid --time specification", 5),
        ("--bogus", "bogus", 5),
        ("--array=0-3", "--workers", 2),
        ("-a0-3", "--workers", 2),
        ("gpu", "gpu", 2),
    ]:
        done = study.run(*study.submitting(2), f"--slurm={slurm}", timeout=60)
        say(f"  {slurm}: {done.status}, {done.said}")
        check(done.status == status and says.lower() in done.err.lower(), f"{slurm}: ended with {done.status}, expected {status} and `{says}`: {done.said}")
    done = study.run(*study.submitting(5000), timeout=60)
    say(f"  5,000 workers: {done.status}, {done.said}")
    check(done.status == 5 and "Invalid job array specification" in done.err, f"an array too large: ended with {done.status}: {done.said}")
    done = study.run(*study.submitting(2), timeout=60, more={"PATH": str(study.place)})
    say(f"  no Slurm's programs: {done.status}, {done.said}")
    check(done.status == 5 and "there is no `s" in done.err, f"no `sbatch`: ended with {done.status}: {done.said}")
    check(cluster.is_empty(), f"refused, and in the queue: {cluster.queue()}")
    check(not begun(study), "refused, and executed all the same")


def script(study, cluster, check):
    """What is printed is what Slurm takes."""
    done = study.run("slurm", "script", "attacked", "--workers", "3", "--slurm=--time=8:00:00")
    for line in ["--array=0-2", "--requeue", "--signal=B:USR1@60", "--open-mode=append", "--job-name=spot-attacked", "--output=", "--time=8:00:00"]:
        check(any(text.startswith("#SBATCH") and line in text for text in done.out.splitlines()), f"`spot slurm script` lacks {line}: {done.out}{done.err}")
    path = study.place / "script.sh"
    path.write_text(done.out)
    tested = cluster.ask("sbatch", "--test-only", path)
    check(tested.status == 0, f"`sbatch --test-only`: {tested.said}")
    say(f"  the script: {tested.said}")


def no_controller(study, cluster, check):
    """Nobody takes the job."""
    cluster.kill("slurmctld")
    began = time.monotonic()
    done = study.run(*study.submitting(2), timeout=240)
    say(f"  no controller: {done.status} after {time.monotonic() - began:.0f} s, {done.said}")
    check(done.status == 5 and "Unable to contact slurm controller" in done.err, f"no controller: ended with {done.status}: {done.said}")
    cluster.revive()
    cluster.wait_for("an answer", lambda: cluster.ask("squeue").status == 0)


def slow_controller(study, cluster, check):
    """A controller that answers too late has taken the job all the same: it must not be submitted twice."""
    controller = cluster.processes["slurmctld"]
    controller.send_signal(signal.SIGSTOP)
    client = study.start(*study.submitting(2))
    time.sleep(14)
    controller.send_signal(signal.SIGCONT)
    time.sleep(3)
    if client.poll() is not None:
        say(f"  slow controller: {client.returncode}, {study.last_words()}")
        client = study.start(*study.submitting(2))
    arrays, until = set(), time.monotonic() + PATIENCE / 3
    while client.poll() is None and time.monotonic() < until:
        arrays |= {task.split("_")[0] for task in cluster.queue()}
        time.sleep(0.5)
    end(client.pid)
    say(f"  slow controller: {client.wait()}, {len(arrays)} arrays in the queue, programs begun {sum(begun(study).values())} times for 45 jobs")
    check(client.returncode == 0, f"slow controller: ended with {client.returncode}: {study.last_words()}")
    check(len(arrays) == 1, f"slow controller: {len(arrays)} arrays: {sorted(arrays)}")


def detached(study, cluster, check):
    """Submitted and left alone; whoever types the same command attaches."""
    began = time.monotonic()
    first = study.run(*study.submitting(4), "--detach", timeout=60)
    say(f"  detached: {first.status} after {time.monotonic() - began:.1f} s, {first.said}")
    check(first.status == 0, f"--detach ended with {first.status}: {first.said}")
    arrays = {task.split("_")[0] for task in cluster.queue()}
    check(len(arrays) == 1, f"--detach: arrays {arrays}")
    waited(lambda: begun(study), 30)
    status = study.run("status", "attacked", timeout=60)
    say("  status: " + " / ".join(status.out.strip().splitlines()[-8:]))
    check("first[" in status.out and socket.gethostname().split(".")[0] in status.out, f"`spot status` does not say who does what: {status.out[-300:]}{status.err}")
    again = study.run(*study.submitting(4), "--detach", timeout=60)
    say(f"  detached again: {again.status}, {again.said}")
    check({task.split("_")[0] for task in cluster.queue()} <= arrays, f"the same command submitted another array: {cluster.queue()}")
    attached = study.run(*study.submitting(4))
    check(attached.status == 0, f"attached, and ended with {attached.status}: {attached.said}")
    check(max(begun(study).values()) == 1, f"executed more than once: {begun(study).most_common(3)}")
    found, why = study.results()
    check(found is not None and len(found) == 45, f"detached: {why}")


def interrupted(study, cluster, check):
    """Ctrl-C ends the watching, not the work."""
    client = study.start(*study.submitting(4))
    waited(lambda: begun(study), 60)
    end(client.pid, signal.SIGINT)
    status = waited(lambda: client.poll() is not None, 20) and client.returncode
    end(client.pid)
    client.wait()
    say(f"  Ctrl-C: {status}, {study.last_words()[-300:]}")
    check(status == 130, f"Ctrl-C: ended with {status}")
    time.sleep(3)
    check("RUNNING" in cluster.queue().values(), f"Ctrl-C ended the workers: {cluster.queue()}")
    done = study.run(*study.submitting(4))
    check(done.status == 0 and max(begun(study).values()) == 1, f"attached after Ctrl-C: {done.status}, {begun(study).most_common(3)}")


def cancelled(study, cluster, check):
    """Asked to leave, all workers leave, and none comes back."""
    study.run(*study.submitting(4), "--detach", timeout=60)
    check(waited(lambda: len(cluster.workers()) == 4 and begun(study), 60), "cancel: 4 workers do not come")
    began = time.monotonic()
    done = study.run("cancel", "attacked", timeout=60)
    gone = waited(lambda: not cluster.workers() and cluster.is_empty(), 60)
    say(f"  cancel: {done.status}, {done.said}; all gone after {time.monotonic() - began:.1f} s")
    check(done.status == 0 and gone, f"cancel: {done.status}, {done.said}; left: {cluster.queue()}")
    time.sleep(8)
    check(cluster.is_empty(), f"cancel: tasks came back: {cluster.queue()}")
    rest = study.run("run", "attacked", "--jobs", "32")
    check(rest.status == 0, f"a run after cancel ended with {rest.status}: {rest.said}")
    found, why = study.results()
    check(found is not None and len(found) == 45, f"after cancel: {why}")


def dead(study, cluster, check):
    """All workers are killed: Slurm brings none of them back."""
    client = study.start(*study.submitting(4, "--jobs", "1"))
    waited(lambda: len(cluster.workers()) == 4 and begun(study), 60)
    for pid in cluster.workers():
        end(pid)
    began = time.monotonic()
    waited(lambda: client.poll() is not None, PATIENCE / 3)
    end(client.pid)
    say(f"  dead array: {client.wait()} after {time.monotonic() - began:.0f} s, {study.last_words()[-200:]}")
    check(client.returncode == 0, f"dead array: ended with {client.returncode}: {study.last_words()}")
    count = begun(study)
    check(sum(count.values()) <= 45 + 4, f"dead array: {sum(count.values())} programs begun for 45 jobs of which 4 were killed")


def failing(study, cluster, check):
    """A job that fails is said by the client, and the array leaves."""
    (study.place / "job.sh").write_text('[ "$1" != first-7 ] || exit 3\necho x > "$SPOT_OUT/made"\n')
    done = study.run(*study.submitting(4), timeout=120)
    gone = waited(cluster.is_empty, 60)
    say(f"  a job that fails: {done.status}, {done.said}")
    check(done.status == 1 and "first[7]" in done.out + done.err, f"a job that fails: ended with {done.status}: {done.said}")
    check(gone, f"a job failed, and workers stay: {cluster.queue()}")


TUNING = """version: 1
name: tuning
stages:
  backbone: {kind: backbone, from: {builtin: nano}}
  data: {kind: ingest, backbone: backbone, from: {builtin: w_sum}, rows: {train: 64, validation: 8, test: 8}, input_length: 64, target_length: 8}
  tuned:
    kind: tune
    backbone: backbone
    data: data
    length: 8
    seed: 1
    training: {steps: STEPS, batch_size: 4, evaluate_every: 10, dropout: 0.1}
"""


def tuning(study, cluster, lasting):
    """A study of one tuning that lasts about so many seconds here."""
    here(Study(study.place, cluster, study.spot, "tuning", TUNING.replace("STEPS", "40")), cache="measured")
    speed = 40 / next(one["seconds"] for one in provenance(study.place / "measured") if one["job"] == "tuned")
    return Study(study.place, cluster, study.spot, "tuning", TUNING.replace("STEPS", str(max(40, round(lasting * speed)))), "leases")


def resumed(study, check, expected, what):
    """That a tuning went on where it was, and made the same bytes."""
    found, why = study.results()
    check(found == expected, f"{what}: {why or unlike(found or {}, expected)}")
    steps = [one["resumed_at"] for one in provenance(study.place / "cache") if one["job"] == "tuned"]
    check(any(steps), f"{what}: the tuning began anew")
    return steps


def noticed(study, cluster, check):
    """A worker that is told that its time is over saves its step and comes back to it."""
    study = tuning(study, cluster, 30)
    expected, _ = here(study)
    client = study.start(*study.submitting(2))
    count = 0
    for _ in range(2):
        check(waited(lambda: tunes(cluster, study), 60), "notice: nobody tunes")
        time.sleep(6)
        told = cluster.workers()
        count += len(told)
        for pid in told:
            end(pid, signal.SIGUSR1)
        check(waited(lambda: not told.keys() & cluster.workers().keys(), 20), f"notice: one of the workers {told} stays")
        # The client wakes them, so that they may be at work again.
        back = set(told.values()) & set(cluster.queue())
        check(bool(back), f"notice: none of {sorted(told.values())} is back in the queue: {cluster.queue()}")
    waited(lambda: client.poll() is not None, PATIENCE / 3)
    end(client.pid)
    check(client.wait() == 0, f"notice: ended with {client.returncode}: {study.last_words()}")
    say(f"  notice: {count} workers were told, the tuning went on at step {resumed(study, check, expected, 'notice')}")


def limited(study, cluster, check):
    """A tuning that takes longer than the time limit of its worker."""
    study = tuning(study, cluster, 100)
    expected, _ = here(study)
    began = time.monotonic()
    done = study.run(*study.submitting(1, "--slurm=--time=2"))
    check(done.status == 0, f"time limit: ended with {done.status}: {done.said}")
    steps = resumed(study, check, expected, "time limit")
    say(f"  time limit: a tuning of about 100 s within limits of 2 min, of which the last is notice; {time.monotonic() - began:.0f} s, went on at step {steps}")


def tunes(cluster, study):
    """Whether a worker is at work in a tuning."""
    return bool(cluster.workers()) and any((study.place / "cache" / "v1" / "partial").glob("*/*"))


CHECKS = [options, script, no_controller, slow_controller, detached, interrupted, cancelled, dead, failing, noticed, limited]


def waited(is_so, seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if is_so():
            return True
        time.sleep(0.1)
    return bool(is_so())


class Faults:
    """What was not as it should be, and the projects in which it was."""

    def __init__(self):
        self.found = []

    def check(self, what, good, text, study=None):
        if not good:
            self.add(what, text, study)

    def add(self, what, text, study=None):
        kept = ""
        if study is not None:
            place = tempfile.mkdtemp(prefix="spot-attacked-")
            shutil.copytree(study.place, place, symlinks=True, dirs_exist_ok=True)
            shutil.copytree(study.cluster.place, Path(place, "cluster"), ignore=shutil.ignore_patterns("*.sock*", "munge", "spool"), dirs_exist_ok=True)
            kept = f"; kept in {place}"
        self.found.append(f"{what}: {text}")
        print(f"WRONG {what}: {text}{kept}", flush=True)


def folder(arguments):
    """A temporary folder."""
    return tempfile.TemporaryDirectory(prefix="spot-attack-", dir=arguments.place, ignore_cleanup_errors=True)


def why_not():
    """Why there can be no cluster here, if there can be none."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [name for name in [*Cluster.NAMES, "sbatch", "squeue", "scontrol", "scancel"] if shutil.which(name, path=path) is None]
    return f"no {', '.join(missing)}" if missing else None if os.geteuid() == 0 else "slurmd needs root"


def main():
    about = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    about.add_argument("--only", nargs="+", choices=[check.__name__ for check in CHECKS], help="of `refused`")
    about.add_argument("attack", choices=["smoke", "many", "chaos", "refused", "all"])
    about.add_argument("--rounds", type=int, default=6, help="of chaos")
    about.add_argument("--of", nargs="+", choices=ATTACKS, help="attacks of chaos [default: all]")
    about.add_argument("--seed", type=int, default=0)
    about.add_argument("--jobs", type=int, help="of a run [default: 1000, 120 of chaos]")
    about.add_argument("--workers", type=int, default=16, help="of `many`")
    about.add_argument("--place", help="where projects are made [default: in memory where that can be]")
    about.add_argument("--spot", default=HERE / "target/debug/spot", type=Path)
    arguments = about.parse_args()
    missing = why_not()
    if missing:
        print(f"not tried: {missing}")
        return
    arguments.spot = str(arguments.spot.resolve(strict=True))
    arguments.place = arguments.place or ("/dev/shm" if os.path.isdir("/dev/shm") else None)
    faults, began = Faults(), time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with Cluster(cpus=16) as cluster:
        for attack in [smoke, many, chaos, refused]:
            if arguments.attack in (attack.__name__, "all"):
                attack(arguments, cluster, faults)
    say(f"{arguments.attack}, seed {arguments.seed}, {time.monotonic() - began:.0f} s: {len(faults.found)} faults")
    sys.exit(bool(faults.found))


main()
