"""What lies between a machine and its bucket on a bad day: an HTTP proxy that by seed drops, delays, cuts, flips and refuses.

    python3 tools/attacks/proxy.py --upstream 127.0.0.1:9000 --folder log [--listen 127.0.0.1:0] [--seed 0] [--rate 0.01]

Heads of requests go on as they came, so that signatures hold. Whether a request is harmed depends on the seed, its method, its path
and how often it was made before, not on what else goes on. `GET /-/rate/0.0` sets the rate, `GET /-/counts` answers with counts.
Python's standard library is enough.
"""

import argparse
import asyncio
import collections
import json
import os
import random
import socket
import struct
import time
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

# What may happen to which requests. All that fits a request is equally likely.
FAULTS = {
    "lost request": lambda request: True,
    "lost answer": lambda request: True,
    "delay": lambda request: True,
    "503": lambda request: True,
    "500 though done": lambda request: request.method in ("PUT", "POST", "DELETE"),
    "false 412": lambda request: request.is_conditional,
    "flipped upload": lambda request: request.method in ("PUT", "POST") and len(request.body) > 0,
    "flipped answer": lambda request: request.reads_object,
    "cut answer": lambda request: request.method == "GET",
    "short answer": lambda request: request.reads_object,
}
LONGEST_HEAD = 1 << 16


class Request:
    def __init__(self, head, body):
        self.head, self.body = head, body
        self.method, self.target, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
        self.headers = headers(head)
        parts = urlsplit(self.target)
        self.query = parse_qs(parts.query, keep_blank_values=True)
        self.is_list = self.method == "GET" and "prefix" in self.query
        # Of `/bucket/prefix/…/segment/name` what is below the bucket; of a list what is asked for.
        self.name = self.query["prefix"][0] if self.is_list else unquote(parts.path).lstrip("/").partition("/")[2]
        self.is_conditional = self.method == "PUT" and bool({"if-match", "if-none-match"} & self.headers.keys())
        self.reads_object = self.method == "GET" and bool(self.name) and not self.is_list


def headers(head):
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines) if name}


class Proxy:
    def __init__(self, arguments):
        self.seed, self.rate, self.prefix = arguments.seed, arguments.rate, arguments.prefix.strip("/")
        self.longest_delay = arguments.longest_delay
        host, _, port = arguments.upstream.rpartition(":")
        self.upstream = host, int(port)
        self.idle = []
        self.seen = collections.Counter()
        self.requests, self.faults, self.statuses = collections.Counter(), collections.Counter(), collections.Counter()
        self.bytes_up = self.bytes_down = 0
        self.folder = Path(arguments.folder)
        self.events = open(self.folder / "events.jsonl", "a", buffering=1)

    def segment(self, name):
        own = name.removeprefix(self.prefix).lstrip("/") if self.prefix else name
        return own.partition("/")[0] or "(all)"

    def counts(self):
        return {
            "requests": dict(self.requests),
            "faults": dict(self.faults),
            "statuses": dict(self.statuses),
            "bytes_up": self.bytes_up,
            "bytes_down": self.bytes_down,
        }

    def event(self, **event):
        self.events.write(json.dumps({"time": time.time(), **event}) + "\n")

    def fault(self, request):
        """What happens to a request, and the chance that the rest of it is drawn from."""
        same = f"{request.method} {request.name}"
        self.seen[same] += 1
        chance = random.Random(f"{self.seed} {same} {self.seen[same]}")
        if chance.random() >= self.rate:
            return None, chance
        return chance.choice([name for name, fits in FAULTS.items() if fits(request)]), chance

    async def client(self, reader, writer):
        try:
            while True:
                request = await received(reader, writer)
                if request is None:
                    break
                if request.target.startswith("/-/"):
                    writer.write(self.control(request.target))
                elif not await self.handle(request, writer):
                    break
                await writer.drain()
                if request.headers.get("connection", "").lower() == "close":
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            pass
        finally:
            writer.close()

    def control(self, target):
        if target.startswith("/-/rate/"):
            self.rate = float(target.rpartition("/")[2])
        return answer(200, "application/json", json.dumps(self.counts()).encode())

    async def handle(self, request, writer):
        """Answers a request; whether the connection goes on."""
        method = "LIST" if request.is_list else request.method
        self.requests[f"{method} {self.segment(request.name)}"] += 1
        fault, chance = self.fault(request)
        if fault:
            self.faults[fault] += 1
        self.bytes_up += len(request.body)
        if fault == "lost request":
            return dropped(writer, chance)
        if fault == "delay":
            await asyncio.sleep(chance.uniform(0.02, self.longest_delay))
        if fault == "503":
            writer.write(answer(503, "application/xml", trouble("SlowDown", "Reduce your request rate."), self.statuses))
            return True
        if fault == "false 412":
            text = trouble("PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
            writer.write(answer(412, "application/xml", text, self.statuses))
            return True
        body = flipped(request.body, chance) if fault == "flipped upload" else request.body
        try:
            status, head, content = await self.forward(request, body)
        except (OSError, asyncio.IncompleteReadError) as error:
            self.statuses["no upstream"] += 1
            self.event(what="no upstream", name=request.name, why=repr(error))
            writer.write(answer(502, "text/plain", b"nobody answers\n"))
            return True
        self.note(request, status, fault)
        if fault == "lost answer":
            return dropped(writer, chance)
        if fault == "500 though done":
            writer.write(answer(500, "application/xml", trouble("InternalError", "We encountered an internal error."), self.statuses))
            return True
        self.statuses[str(status)] += 1
        if fault in ("cut answer", "short answer", "flipped answer") and len(content) > 0 and status in (200, 206):
            self.event(what=fault, name=request.name)
            at = chance.randrange(len(content))
            if fault == "cut answer":
                writer.write(with_length(head, len(content)) + content[:at])
                await writer.drain()
                return dropped(writer, chance)
            content = content[:at] if fault == "short answer" else flipped(content, chance)
        self.bytes_down += len(content)
        length = None if request.method == "HEAD" else len(content)
        writer.write(with_length(head, length) + content)
        return True

    def note(self, request, status, fault):
        """Keeps what was written when, and what was written wrong."""
        if request.method == "PUT" and status == 200:
            segment = self.segment(request.name)
            if segment == "entries":
                self.event(what="replaced" if "if-match" in request.headers else "created", name=request.name)
            if fault == "flipped upload":
                self.event(what="stored wrong", name=request.name)
                self.faults["… stored"] += 1

    async def forward(self, request, body):
        """The answer of the server; over a connection that was kept, and a new one if that turns out to be closed."""
        while True:
            is_new = not self.idle
            reader, writer = await asyncio.open_connection(*self.upstream, limit=LONGEST_HEAD) if is_new else self.idle.pop()
            try:
                writer.write(request.head + body)
                await writer.drain()
                first = await reader.read(1)
                if not first:
                    raise ConnectionResetError("closed without an answer")
            except ConnectionError:
                writer.close()
                if is_new:
                    raise
                continue
            status, head, content, is_kept = await read_answer(reader, first, request.method)
            if is_kept:
                self.idle.append((reader, writer))
            else:
                writer.close()
            return status, head, content


async def received(reader, writer):
    """The next request of a connection; `None` at its end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    about = headers(head)
    if about.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
        lines = head.split(b"\r\n")
        head = b"\r\n".join(line for line in lines if not line.lower().startswith(b"expect:"))
    if "chunked" in about.get("transfer-encoding", ""):
        raise ConnectionResetError("bodies in chunks are not forwarded")
    return Request(head, await reader.readexactly(int(about.get("content-length", 0))))


async def read_answer(reader, first, method):
    while True:
        head = first + await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        if status >= 200:
            break
        first = b""
    about = headers(head)
    is_kept = about.get("connection", "").lower() != "close" and not head.startswith(b"HTTP/1.0")
    if method == "HEAD" or status in (204, 304):
        return status, head, b"", is_kept
    if "chunked" in about.get("transfer-encoding", ""):
        pieces = []
        while True:
            size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
            pieces.append((await reader.readexactly(size + 2))[:-2])
            if size == 0:
                return status, head, b"".join(pieces), is_kept
    if "content-length" in about:
        return status, head, await reader.readexactly(int(about["content-length"])), is_kept
    return status, head, await reader.read(), False


def with_length(head, length):
    """The head of an answer with the length of its body, if it has one, and nothing of chunks and connections."""
    left_out = (b"transfer-encoding:", b"connection:", b"keep-alive:") + ((b"content-length:",) if length is not None else ())
    lines = [line for line in head[:-4].split(b"\r\n") if not line.lower().startswith(left_out)]
    lines[0] = b"HTTP/1.1" + lines[0][8:]
    if length is not None:
        lines.append(b"Content-Length: %d" % length)
    return b"\r\n".join(lines) + b"\r\n\r\n"


def answer(status, kind, body, statuses=None):
    if statuses is not None:
        statuses[str(status)] += 1
    return f"HTTP/1.1 {status} -\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def trouble(code, message):
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'.encode()


def flipped(content, chance):
    """With one bit flipped."""
    content = bytearray(content)
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return bytes(content)


def dropped(writer, chance):
    """Ends a connection, politely or not."""
    if chance.random() < 0.5:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    return False


async def serve(arguments):
    proxy = Proxy(arguments)
    host, _, port = arguments.listen.rpartition(":")
    server = await asyncio.start_server(proxy.client, host, int(port), limit=LONGEST_HEAD, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    counts, parent = proxy.folder / "counts.json", os.getppid()
    async with server:
        # Ends with who started it.
        while os.getppid() == parent:
            await asyncio.sleep(1)
            counts.with_suffix(".new").write_text(json.dumps(proxy.counts()))
            counts.with_suffix(".new").replace(counts)


def main():
    about = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    about.add_argument("--listen", default="127.0.0.1:0")
    about.add_argument("--upstream", required=True)
    about.add_argument("--folder", required=True, help="where counts.json and events.jsonl are written")
    about.add_argument("--prefix", default="", help="what all names begin with, left out of counts")
    about.add_argument("--seed", type=int, default=0)
    about.add_argument("--rate", type=float, default=0.01, help="share of requests to which something happens")
    about.add_argument("--longest-delay", type=float, default=3)
    arguments = about.parse_args()
    Path(arguments.folder).mkdir(parents=True, exist_ok=True)
    asyncio.run(serve(arguments))


if __name__ == "__main__":
    main()
