"""Losses of power while a pipeline runs, is repaired and collected, on a real ext4."""

import json
import os
import random
import shutil
import tempfile
import time
from pathlib import Path

from disk import Log, Mounted, Neighbour, Served, command, formatted
from project import Project, Table

MEGABYTES = 64
# So many losses are tried of one recording.
CUTS = 20
# The file system writes back what nobody asked it to every second, not every five.
OPTIONS = "commit=1"


def cuts(arguments, expected, kept):
    """Cuts the power at random moments of recordings; then the file system recovers, and an audit and a run follow."""
    missing = why_not()
    if missing:
        print(f"not tried: {missing}")
        raise SystemExit(0)
    table = Table(["rounds", "no store", "unnamed", "audit 3", "repaired", "healed", "wrong", "stuck"])
    done = 0
    while done < arguments.rounds:
        chance = random.Random(f"{arguments.seed} {done}")
        with tempfile.TemporaryDirectory(prefix="spot-power-", dir=memory()) as place:
            log, first, text = recorded(Path(place), arguments, chance)
            for _ in range(min(CUTS, arguments.rounds - done)):
                cut = chance.randrange(first, len(log.events) + 1)
                lost(Path(place), log, cut, chance, arguments, expected, table, kept, done, text(cut))
                done += 1
        print(f"{done} of {arguments.rounds}: {len(log.events) - first} writes and flushes in the last recording\n{table}", flush=True)
    return table


def why_not():
    if os.geteuid() != 0:
        return "mounts need root"
    for needed in ["/dev/fuse", "/dev/loop-control"]:
        if not os.path.exists(needed):
            return f"no {needed}"
    return "no mkfs.ext4" if shutil.which("mkfs.ext4", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is None else None


def memory():
    return "/dev/shm" if os.path.isdir("/dev/shm") else None


def recorded(place, arguments, chance):
    """What a disk sees of a run, which may be killed and go on, of an edit, another run and perhaps a collection; where it begins, and
    what the input says when."""
    image = place / "image"
    formatted(image, MEGABYTES)
    with Mounted(image, place / "mounted", OPTIONS) as mounted:
        Project(mounted / "project", arguments.spot)
    log = Log(image)
    served = Served(log, place / "served")
    try:
        with Mounted(place / "served", place / "mounted", OPTIONS) as mounted:
            project = Project.__new__(Project)
            project.folder, project.spot = mounted / "project", arguments.spot
            neighbour = Neighbour(mounted, chance.random())
            first = len(log.events)
            if chance.random() < 0.5:
                killed(project, chance.uniform(0.05, 1))
            project.run("run", "attacked")
            if chance.random() < 0.5:
                # Two runs with nothing to do, of which the second goes on from a journal that nobody ended.
                killed(project, chance.uniform(0.01, 0.1))
                project.run("run", "attacked")
            edited = len(log.events)
            project.edit(1)
            os.sync()
            synced = len(log.events)
            project.run("run", "attacked")
            if chance.random() < 0.5:
                project.run("gc", "--apply", "--keep-runs", "0")
            neighbour.close()
    finally:
        served.close()
    # Between the edit and its sync the disk may have either content.
    return log, first, lambda cut: 0 if cut <= edited else 1 if cut > synced else None


def killed(project, after):
    run = project.start("run", "attacked")
    time.sleep(after)
    run.kill()
    run.wait()


def lost(place, log, cut, chance, arguments, expected, table, kept, number, text):
    """One loss of power, and what comes after it."""
    image, what = place / "lost", f"round {number}, event {cut} of {len(log.events)}"
    log.after(cut, chance, image)
    table.add("power", "rounds")
    with Mounted(image, place / "recovered", "defaults") as mounted:
        project = Project.__new__(Project)
        project.folder, project.spot = mounted / "project", arguments.spot
        wrong = untrue(project, expected)
        table.add("power", "no store", int(not project.store.is_dir()))
        told = project.run("audit", "attacked", "--format", "json")
        # A blob has its name before it is synced; until an entry names it, half of one does no harm.
        problems = json.loads(told.out)["problems"] if told.status in (0, 3) else []
        is_unnamed = told.status == 3 and all(problem["what"].endswith("of `nothing known` is corrupt") for problem in problems)
        table.add("power", "unnamed", int(is_unnamed))
        table.add("power", "audit 3", int(told.status == 3 and not is_unnamed))
        if text is None:
            # Whatever the loss left of it.
            project.edit(0)
            text = 0
        ended = project.run("run", "attacked")
        wrong += expected.wrong(project, text) if ended.status == 0 else []
        audit = project.run("audit", "attacked") if ended.status == 0 else ended
        if audit.status == 3:
            table.add("power", "repaired")
            project.run("audit", "attacked", "--repair")
            audit = project.run("audit", "attacked")
        wrong += expected.unnoticed(project) if audit.status == 0 else []
        if wrong:
            table.add("power", "wrong")
            kept(project, f"{what}: {'; '.join(wrong[:5])}")
        elif ended.status != 0 or audit.status != 0:
            table.add("power", "stuck")
            kept(project, f"{what}: the run ended with {ended.status}, the audit with {audit.status}: {(audit.err + audit.out).strip()[-400:]}")
        else:
            table.add("power", "healed")
    command("rm", "-f", image)


def untrue(project, expected):
    """The entries, right after the loss, that name what is not wholly there."""
    try:
        named, there = project.named(), project.blobs()
    except (ValueError, KeyError) as error:
        return [f"an entry that is not whole: {error}"]
    wrong = [f"an entry names {digest[:12]}, which is not there" for digest in named if digest not in there]
    return wrong + [f"an entry names {digest[:12]}, which has other bytes" for digest in named if there.get(digest) != expected.blobs[digest]]
