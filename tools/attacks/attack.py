"""Attacks on a project, as a crash, a bad disk or a careless hand makes them: what is found, healed, served wrong.

    python3 tools/attacks/attack.py kills  [--rounds 1000] [--seed 0] [--spot target/debug/spot]
    python3 tools/attacks/attack.py flips  [--rounds 1000]     # of each kind of file
    python3 tools/attacks/attack.py power  [--rounds 200]      # root, Linux, mkfs.ext4 and loop devices

Python's standard library is enough. A seed gives the same places and instants; when a kill comes within a run still depends on the
machine. Whatever is served wrong or stuck is printed with its round and its project is kept. The status is 0 if nothing was.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from project import Expected, Project, Table, copied, folder

TARGETS = ["blobs", "entries", "journals", "checkpoints", "files.json"]


def kept(project, what):
    """Keeps a project that an attack broke, and says so."""
    place = tempfile.mkdtemp(prefix="spot-attacked-")
    shutil.copytree(project.folder, place, symlinks=True, dirs_exist_ok=True)
    print(f"  {what}; kept in {place}", flush=True)


def ends_well(project, expected, row, table, what):
    """The next run and the audit behind it, as a user would start them; whether all is as if nothing had happened, after a repair if the
    audit asks for one, and what the run said."""
    done = project.run("run", "attacked")
    if done.status != 0:
        return failed(project, row, "stuck", table, f"{what}: the next run ended with {done.status}: {done.err.strip()[-300:]}"), done
    wrong = expected.wrong(project)
    audit = project.run("audit", "attacked")
    if audit.status == 3:
        # What is damaged and no job needs is set aside when somebody asks.
        project.run("audit", "attacked", "--repair")
        audit = project.run("audit", "attacked")
    if audit.status != 0:
        return failed(project, row, "stuck", table, f"{what}: the audit ends with {audit.status}: {(audit.out + audit.err).strip()[-300:]}"), done
    wrong += expected.unnoticed(project)
    if wrong:
        return failed(project, row, "wrong", table, f"{what}: {'; '.join(wrong)}"), done
    return True, done


def failed(project, row, how, table, what):
    table.add(row, how)
    kept(project, what)
    return False


def kills(arguments, expected):
    """A run killed at any instant, up to three times over, perhaps a collection killed too, then a run that is left alone."""
    table = Table(["rounds", "killed", "in a job", "of gc", "resumed", "audit 3", "healed", "wrong", "stuck"])
    chance = random.Random(arguments.seed)
    with folder() as path:
        began = time.monotonic()
        Project(path, arguments.spot).run("run", "attacked")
        length = time.monotonic() - began
    for number in range(arguments.rounds):
        with folder() as path:
            project = Project(path, arguments.spot)
            for _ in range(chance.choice([1, 1, 2, 3])):
                killed(project, chance.uniform(0, length), table)
            if chance.random() < 0.3:
                # What a collection finds that may go: results of another content of the input, and of jobs that are no more.
                project.edit(1)
                project.run("run", "attacked")
                project.edit(0)
                collecting = project.start("gc", "--apply", "--keep-runs", "0", "--partial")
                time.sleep(chance.uniform(0.002, 0.02))
                collecting.kill()
                table.add("kills", "of gc", int(collecting.wait() == -signal.SIGKILL))
            table.add("kills", "rounds")
            table.add("kills", "resumed", int(any(project.files("partial"))))
            before = project.run("audit").status
            table.add("kills", "audit 3", int(before == 3))
            ended, _ = ends_well(project, expected, "kills", table, f"round {number}")
            table.add("kills", "healed", int(ended))
        progress(arguments, number, table)
    return table


def killed(project, after, table):
    """Starts a run and kills it, and it alone, as the kernel does when memory is short."""
    run = project.start("run", "attacked")
    time.sleep(after)
    locks = len([lock for lock in (project.store / "locks").glob("*") if lock.name != "store"]) if run.poll() is None else 0
    run.kill()
    is_killed = run.wait() == -signal.SIGKILL
    table.add("kills", "killed", int(is_killed))
    table.add("kills", "in a job", int(is_killed and locks > 0))


def flips(arguments, expected):
    """One bit of one file flipped; then an audit, a repair where it asks for one, and a run."""
    table = Table(["rounds", "found", "by run", "healed", "harmless", "wrong", "stuck"])
    with folder() as whole, folder() as stopped:
        finished = Project(whole, arguments.spot)
        # Two contents in turn and then the first again, so that there are several journals and entries that no view shows.
        for text in [1, 0, 0]:
            finished.edit(text)
            # A file that was just written is hashed anew whatever the table says.
            os.utime(finished.folder / "text.txt", (1_700_000_000 + text, 1_700_000_000 + text))
            time.sleep(2.1)
            finished.run("run", "attacked")
        interrupted = stopped_in_tunings(Path(stopped), arguments)
        for target in arguments.of or TARGETS:
            chance = random.Random(f"{arguments.seed} {target}")
            bases = interrupted if target == "checkpoints" else [finished]
            for number in range(arguments.rounds):
                flipped(chance, target, bases, arguments, expected, table, number)
                progress(arguments, number, table)
    return table


def stopped_in_tunings(place, arguments):
    """Projects whose runs were killed after different steps."""
    chance, stopped = random.Random(arguments.seed), []
    while len(stopped) < 8:
        project = Project(place / str(len(stopped)), arguments.spot)
        run, wanted = project.start("run", "attacked"), chance.randrange(1, 11)
        while run.poll() is None and not any(saved_step(path) >= wanted for path in project.store.glob("partial/*/step")):
            time.sleep(0.001)
        run.kill()
        run.wait()
        if victims(project, "checkpoints"):
            stopped.append(project)
        else:
            shutil.rmtree(project.folder)
    return stopped


def saved_step(path):
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return -1


def victims(project, target):
    """The files of a kind."""
    folders = {"blobs": "blobs", "entries": "entries", "journals": "runs", "checkpoints": "partial"}
    if target == "files.json":
        return [project.store / target]
    files = project.files(folders[target])
    # Beside its state a tuning keeps the step for people to see, and a program's folder is made anew whatever is in it.
    return [file for file in files if file.name == "state"] if target == "checkpoints" else files


def flipped(chance, target, bases, arguments, expected, table, number):
    base = chance.choice(bases)
    if target == "files.json":
        # In the place of the original: in a copy the digests of files would be of other files, and count for nothing.
        table_of_files = base.store / target
        before = table_of_files.read_bytes()
        survives(chance, target, base, expected, table, number)
        table_of_files.write_bytes(before)
        return
    with folder() as path:
        survives(chance, target, copied(base, path, arguments.spot), expected, table, number)


def survives(chance, target, project, expected, table, number):
    """Flips a bit in a project and does what a user would."""
    victim = chance.choice(victims(project, target))
    place = victim.relative_to(project.store)
    at, bit = flip(chance, victim)
    what = f"{target}, round {number}: bit {bit} of byte {at} of {place}"
    table.add(target, "rounds")
    audit = project.run("audit", "attacked")
    is_found = audit.status == 3
    table.add(target, "found", int(is_found))
    if audit.status not in (0, 3):
        table.add(target, "stuck")
        kept(project, f"{what}: audit ended with {audit.status}: {audit.err.strip()[-300:]}")
        return
    # A user repairs, or just runs.
    if is_found and chance.random() < 0.5:
        project.run("audit", "attacked", "--repair")
    flipped_bytes = victim.read_bytes() if target == "files.json" else None
    ended, run = ends_well(project, expected, target, table, what)
    # A table of files is made anew without a word: nothing is lost with it.
    is_said = not is_found and ("damaged" in run.err or target == "files.json" and victim.read_bytes() != flipped_bytes)
    table.add(target, "by run", int(is_said))
    table.add(target, "healed" if is_found or is_said else "harmless", int(ended))


def flip(chance, path):
    """Flips one bit of a file; read-only files too."""
    content = bytearray(path.read_bytes())
    at, bit = chance.randrange(len(content)), chance.randrange(8)
    content[at] ^= 1 << bit
    stat = path.stat()
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(stat.st_mode)
    # As a bad disk leaves it: with the times it had.
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    return at, bit


def progress(arguments, number, table):
    if (number + 1) % 100 == 0:
        print(f"round {number + 1} of {arguments.rounds}\n{table}", file=sys.stderr, flush=True)


def power(arguments, expected):
    from power import cuts

    return cuts(arguments, expected, kept)


def main():
    about = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    about.add_argument("attack", choices=["kills", "flips", "power"])
    about.add_argument("--rounds", type=int)
    about.add_argument("--of", nargs="+", choices=TARGETS, help="kinds of files whose bits are flipped [default: all]")
    about.add_argument("--seed", type=int, default=0)
    about.add_argument("--spot", default=Path(__file__).parents[2] / "target/debug/spot", type=Path)
    arguments = about.parse_args()
    arguments.rounds = arguments.rounds or {"kills": 1000, "flips": 1000, "power": 200}[arguments.attack]
    arguments.spot = str(arguments.spot.resolve(strict=True))
    began = time.monotonic()
    table = {"kills": kills, "flips": flips, "power": power}[arguments.attack](arguments, Expected(arguments.spot))
    print(f"{arguments.attack}, seed {arguments.seed}, {time.monotonic() - began:.0f} s\n{table}")
    sys.exit(any(counts["wrong"] or counts["stuck"] for counts in table.rows.values()))


main()
