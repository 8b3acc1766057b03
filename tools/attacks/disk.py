"""A disk whose power can fail: a block device that remembers in what order it was written to and when it was told to flush.

The device is a file of a FUSE file system of our own, which is a file and nothing else, under a loop device. What was written and
not yet flushed may be on a real disk or not, in any order, and of a write that is under way some sectors of 4 KiB; `after` makes such a
disk.
"""

import ctypes
import os
import random
import struct
import subprocess
import threading
import time
from pathlib import Path

# Operations of the protocol (linux/fuse.h), and what a reply to all others is.
FORGET, GETATTR, SETATTR, OPEN, READ, WRITE, RELEASE, FSYNC, FLUSH, INIT, INTERRUPT, DESTROY = 2, 3, 4, 14, 15, 16, 18, 20, 25, 26, 36, 38
NOT_THERE = -38
DIRECT = 1
MOST = 1 << 17
# What a disk writes wholly or not at all.
SECTOR = 4096


class Log:
    """What happened to a disk: writes `(offset, bytes)` and flushes, which are None."""

    def __init__(self, image):
        self.image, self.events = bytearray(Path(image).read_bytes()), []
        self.base = bytes(self.image)

    def write(self, offset, data):
        self.image[offset : offset + len(data)] = data
        self.events.append((offset, data))

    def after(self, cut, chance, path):
        """Writes a disk that a loss of power may leave when the event `cut` was under way: all that was flushed, of the rest any writes,
        and of the last one any sectors."""
        disk = bytearray(self.base)
        flushed = max((at for at, event in enumerate(self.events[:cut]) if event is None), default=0)
        share = chance.choice([0, 0.2, 0.5, 0.8, 1])
        for at, event in enumerate(self.events[:cut]):
            if event is not None and (at < flushed or chance.random() < share):
                offset, data = event
                disk[offset : offset + len(data)] = data
        if cut < len(self.events) and self.events[cut] is not None:
            offset, data = self.events[cut]
            for sector in range(0, len(data), SECTOR):
                if chance.random() < share:
                    part = data[sector : sector + SECTOR]
                    disk[offset + sector : offset + sector + len(part)] = part
        Path(path).write_bytes(disk)


class Served:
    """A log as a file that the kernel reads and writes."""

    def __init__(self, log, place):
        self.log, self.place = log, Path(place)
        self.place.touch()
        self.device = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self.device},rootmode=100600,user_id=0,group_id=0,max_read={MOST}"
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"spot-disk", os.fsencode(self.place), b"fuse", 0, options.encode()) != 0:
            raise OSError(ctypes.get_errno(), "mount of the FUSE file")
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                request = os.read(self.device, MOST + 4096)
            except OSError:
                return
            length, operation, unique, _node, _user, _group, _process, _more = struct.unpack_from("<IIQQIIII", request)
            if operation in (FORGET, INTERRUPT):
                continue
            error, reply = self.reply(operation, request[40:length])
            os.write(self.device, struct.pack("<IiQ", 16 + len(reply), error, unique) + reply)
            if operation == DESTROY:
                return

    def reply(self, operation, body):
        log = self.log
        if operation == INIT:
            major, _minor, ahead, _flags = struct.unpack_from("<IIII", body)
            return 0, struct.pack("<IIIIHHIIHH", major, 31, ahead, 0, 16, 12, MOST, 1, 0, 0).ljust(64, b"\0")
        if operation in (GETATTR, SETATTR):
            size = len(log.image)
            attributes = struct.pack("<QQQQQQIIIIIIIIII", 1, size, size // 512, 0, 0, 0, 0, 0, 0, 0o100600, 1, 0, 0, 0, 4096, 0)
            return 0, struct.pack("<QII", 0, 0, 0) + attributes
        if operation == OPEN:
            return 0, struct.pack("<QII", 1, DIRECT, 0)
        if operation == READ:
            _handle, offset, size = struct.unpack_from("<QQI", body)
            return 0, bytes(log.image[offset : offset + size])
        if operation == WRITE:
            _handle, offset, size = struct.unpack_from("<QQI", body)
            log.write(offset, body[40 : 40 + size])
            return 0, struct.pack("<II", size, 0)
        if operation == FSYNC:
            log.events.append(None)
            return 0, b""
        return (0 if operation in (RELEASE, FLUSH, DESTROY) else NOT_THERE), b""

    def close(self):
        command("umount", self.place)
        os.close(self.device)


class Mounted:
    """A file system on a file, mounted on a folder."""

    def __init__(self, file, folder, options):
        self.folder = Path(folder)
        self.folder.mkdir(exist_ok=True)
        self.loop = command("losetup", "--find", "--show", file).strip()
        try:
            command("mount", "-t", "ext4", "-o", options, self.loop, self.folder)
        except SystemError:
            command("losetup", "--detach", self.loop)
            raise

    def __enter__(self):
        return self.folder

    def __exit__(self, *_):
        # A program that was killed may hold it for another moment.
        for attempt in range(50):
            if subprocess.run(["umount", self.folder], capture_output=True).returncode == 0:
                break
            time.sleep(0.1)
        command("losetup", "--detach", self.loop)


def formatted(path, megabytes):
    """An empty ext4 in a file."""
    with open(path, "wb") as file:
        file.truncate(megabytes << 20)
    command("mkfs.ext4", "-q", "-b", "4096", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0", path)


def command(*words):
    done = subprocess.run([str(word) for word in words], capture_output=True)
    if done.returncode != 0:
        raise SystemError(f"{words[0]} ended with {done.returncode}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode()


class Neighbour:
    """Somebody else who syncs small files on the same file system now and then: so whatever was renamed comes to the disk at once, and
    what was written to files only if its owner asked for it."""

    def __init__(self, folder, seed):
        self.folder, self.chance, self.is_over = Path(folder), random.Random(seed), threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        while not self.is_over.wait(self.chance.uniform(0.001, 0.03)):
            with open(self.folder / "neighbour", "ab") as file:
                file.write(b"x")
                os.fsync(file.fileno())

    def close(self):
        self.is_over.set()
        self.thread.join()
