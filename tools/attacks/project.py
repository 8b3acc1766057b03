"""A project that is attacked: a small pipeline of programs and nano models, its runs, and what must come of them."""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

# Every kind of file in a store: blobs with one reader and with many, entries, journals, views, states of tunings, digests of files.
MANIFEST = """version: 1
name: attacked
stages:
  backbone: {kind: backbone, from: {builtin: nano}}
  data:
    kind: ingest
    backbone: backbone
    from: {builtin: w_sum}
    rows: {train: 8, validation: 4, test: 4}
    input_length: 24
    target_length: 8
  tuned:
    kind: tune
    matrix: {seed: [0, 1]}
    backbone: backbone
    data: data
    length: 2
    seed: ${seed}
    training: {steps: 12, batch_size: 2, evaluate_every: 4, dropout: 0.1}
    keep_at: [4]
  scores: {kind: evaluate, matrix: {seed: [0, 1]}, backbone: backbone, prompt: "tuned[${seed}]", data: data, split: test}
  copied: {kind: command, run: [sh, -c, 'cat "$SPOT_IN_text" > "$SPOT_OUT/copy"'], inputs: {text: text.txt}, outputs: [copy]}
  made:
    kind: command
    matrix: {number: [0, 1, 2, 3]}
    run: [sh, -c, 'cat "$SPOT_IN_text" > "$SPOT_OUT/whole"; echo ${number} >> "$SPOT_OUT/whole"']
    inputs: {text: {output: copied.copy}}
    outputs: [whole]
  joined: {kind: command, run: [sh, -c, 'cat "$SPOT_IN_all"/* > "$SPOT_OUT/text"'], sets: {all: "made[*].whole"}, outputs: [text]}
"""

# What the input says, before and after it is edited.
TEXTS = ["one line of text\n", "two line of text\n"]

# A run may take so long before it counts as stuck, in seconds.
PATIENCE = 120


class Run:
    """How a command ended."""

    def __init__(self, done):
        self.status, self.out, self.err = done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


class Project:
    """A folder with the manifest."""

    def __init__(self, folder, spot, text=0):
        self.folder, self.spot = Path(folder), spot
        (self.folder / "pipelines").mkdir(parents=True, exist_ok=True)
        (self.folder / "pipelines" / "attacked.yaml").write_text(MANIFEST)
        self.edit(text)

    def edit(self, text):
        """Gives the input its first or second content."""
        (self.folder / "text.txt").write_text(TEXTS[text])

    @property
    def store(self):
        return self.folder / "cache" / "v1"

    def command(self, *words):
        return [self.spot, *words]

    def start(self, *words):
        """Starts a command in a process group of its own and does not wait."""
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(self.command(*words), cwd=self.folder, start_new_session=True, env=environment(), **quiet)

    def run(self, *words):
        """Runs a command. One that does not end in time is killed and has the status None."""
        try:
            done = subprocess.run(self.command(*words), cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, env=environment())
        except subprocess.TimeoutExpired as late:
            done = subprocess.CompletedProcess(words, None, late.stdout or b"", late.stderr or b"")
        return Run(done)

    def served(self):
        """The content behind every view: what people and later jobs get."""
        views = self.store / "views" / "attacked"
        found = {}
        for path in sorted(views.rglob("*")):
            if path.name != "entry.json" and path.is_file():
                found[str(path.relative_to(views))] = digest(path)
        return found

    def blobs(self):
        """The content of every blob by its name."""
        root = self.store / "blobs"
        return {path.parent.name + path.name: digest(path) for path in sorted(root.glob("??/*")) if path.is_file()}

    def files(self, *folders):
        """The files of folders of the store that have bytes, sorted."""
        found = [path for folder in folders for path in (self.store / folder).rglob("*")]
        return sorted(path for path in found if path.is_file() and not path.is_symlink() and path.stat().st_size > 0)

    def named(self):
        """The blobs that entries name, with their sizes."""
        named = {}
        for path in self.store.glob("entries/??/*.json"):
            for artifact in json.loads(path.read_text())["artifacts"]:
                for part in [artifact, *artifact["parts"]]:
                    if not part.get("external"):
                        named[part["digest"]] = part["size"]
        return named


def environment():
    """Of commands: nothing of the user's that says where things are."""
    return {name: os.environ[name] for name in ["PATH", "HOME"] if name in os.environ} | {"NO_COLOR": "1"}


def digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


class Expected:
    """What an uninterrupted run of each content of the input gives."""

    def __init__(self, spot):
        self.served, self.blobs, self.marks = [], {}, set()
        for text in range(len(TEXTS)):
            with folder() as path:
                project = Project(path, spot, text)
                done = project.run("run", "attacked")
                if done.status != 0:
                    raise SystemExit(f"the run that nobody attacks ended with {done.status}:\n{done.err}")
                self.served.append(project.served())
                self.blobs |= project.blobs()
                self.marks |= {digest(project.folder / "cache" / name) for name in ("CACHEDIR.TAG", ".gitignore")}

    def wrong(self, project, text=0):
        """What the last run left that should not be; nothing if all is right."""
        served, wanted = project.served(), self.served[text]
        wrong = [f"{name} is served wrong" for name in wanted if name in served and served[name] != wanted[name]]
        wrong += [f"{name} is missing" for name in wanted if name not in served]
        marks = [project.folder / "cache" / name for name in ("CACHEDIR.TAG", ".gitignore")]
        return wrong + [f"{mark.name} is not what marks a cache" for mark in marks if digest(mark) not in self.marks]

    def unnoticed(self, project):
        """The blobs with other bytes than they should have, behind an audit that found none."""
        blobs = project.blobs()
        return [f"blob {name[:12]} has other bytes, and the audit is content" for name in blobs if self.blobs.get(name, blobs[name]) != blobs[name]]


def folder():
    """A temporary folder, in memory where there is such: nothing here asks the disk."""
    memory = "/dev/shm"
    return tempfile.TemporaryDirectory(prefix="spot-attack-", dir=memory if os.path.isdir(memory) else None)


def copied(project, to, spot):
    """A copy of a project."""
    shutil.copytree(project.folder, to, symlinks=True, dirs_exist_ok=True)
    copy = Project.__new__(Project)
    copy.folder, copy.spot = Path(to), spot
    return copy


class Table:
    """Counts by row and column, printed as text."""

    def __init__(self, columns):
        self.columns, self.rows = columns, {}

    def add(self, row, column, count=1):
        self.rows.setdefault(row, dict.fromkeys(self.columns, 0))[column] += count

    def __str__(self):
        width = max(len(row) for row in self.rows) if self.rows else 0
        widths = [max(len(column), 6) for column in self.columns]
        lines = [" " * width + "".join(f"  {column:>{at}}" for column, at in zip(self.columns, widths))]
        for row, counts in self.rows.items():
            lines.append(f"{row:<{width}}" + "".join(f"  {counts[column]:>{at}}" for column, at in zip(self.columns, widths)))
        return "\n".join(lines)
