"""An S3 server on loopback, moto's, in its own process, behind a proxy that counts and fails."""

import http.client
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import fsspec

from tests.support.processes import results

# Moto looks for a signature, not at it.
_SIGNED = "AWS4-HMAC-SHA256 Credential=testing/20260101/us-east-1/s3/aws4_request"


@dataclass
class Fault:
    """What becomes of some requests.

    Attributes:
        of: pattern of the requests, such as `GET .*/1.jpg`.
        kind: status of the answer; or `reset`, `stall`, `half`, `drip` (a byte every now and then).
        times: how many of them.
    """

    of: str
    kind: int | str
    times: int = 1_000_000


class Objects:
    """A bucket, what was asked of it, and what shall go wrong."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.url = "s3://bucket"
        self.asked: list[str] = []
        self.faults: list[Fault] = []

    def put(self, key: str, content: bytes) -> None:
        """Write an object, past the proxy."""
        self._send("PUT", f"/bucket/{quote(key)}", content)

    def put_folder(self, folder: Path, prefix: str) -> str:
        """Write all files of a folder; returns their URL."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(f"{prefix}/{path.relative_to(folder)}", path.read_bytes())
        return f"{self.url}/{prefix}"

    def delete(self, key: str) -> None:
        self._send("DELETE", f"/bucket/{quote(key)}", None)

    def empty(self) -> None:
        self._send("POST", "/moto-api/reset", b"")
        self._send("PUT", "/bucket", b"")

    def fault(self, request: str) -> int | str | None:
        for fault in self.faults:
            if fault.times > 0 and re.fullmatch(fault.of, request):
                fault.times -= 1
                return fault.kind
        return None

    def _send(self, method: str, path: str, content: bytes | None) -> None:
        headers = {"Content-Type": "image/jpeg", "Authorization": _SIGNED}
        request = urllib.request.Request(self.server + path, content, headers, method=method)
        urllib.request.urlopen(request).close()


@contextmanager
def moto(directory: Path) -> Iterator[str]:
    """Moto's server in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    settings = os.environ | {"MOTO_S3_DEFAULT_MAX_KEYS": "100"}  # a page of a listing
    with (directory / "moto.log").open("w") as log:
        process = subprocess.Popen(command, env=settings, stdout=log, stderr=log)
        try:
            for _ in range(600):
                with suppress(OSError):
                    urllib.request.urlopen(f"{url}/moto-api/data.json").close()
                    break
                assert process.poll() is None, (directory / "moto.log").read_text()
                time.sleep(0.1)
            yield url
        finally:
            process.terminate()
            process.wait()


@contextmanager
def proxy(server: str) -> Iterator[tuple[Objects, str]]:
    """A proxy in front of the server: gives what counts and fails, and the address."""
    host = server.removeprefix("http://")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            request = f"{self.command} {self.path}"
            objects.asked.append(request)
            fault = objects.fault(request)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if fault == "stall":
                stopped.wait(30)
            if fault in ("stall", "reset"):
                self.close_connection = True
                return
            if isinstance(fault, int):
                status, headers = fault, [("Content-Type", "application/xml")]
                content = b"<Error><Code>InternalError</Code><Message>at fault</Message></Error>"
            else:
                connection = http.client.HTTPConnection(host)
                connection.request(self.command, self.path, body, dict(self.headers.items()))
                reply = connection.getresponse()
                status, headers, content = reply.status, reply.getheaders(), reply.read()
                connection.close()
            self.send_response(status)
            length = str(len(content))
            for name, value in headers:
                if name.lower() == "content-length":
                    length = value
                elif name.lower() not in ("connection", "transfer-encoding", "date", "server"):
                    self.send_header(name, value)
            self.send_header("Content-Length", length)
            self.end_headers()
            if fault == "half":
                self.wfile.write(content[: len(content) // 2])
                self.close_connection = True
            elif fault == "drip":
                for i in range(len(content)):
                    self.wfile.write(content[i : i + 1])
                    if stopped.wait(0.2):
                        return
            else:
                self.wfile.write(content)

        def handle(self) -> None:
            with suppress(OSError):  # who asked has given up
                super().handle()

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    stopped = threading.Event()
    front = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    objects = Objects(server)
    thread = threading.Thread(target=front.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield objects, f"http://127.0.0.1:{front.server_port}"
    finally:
        stopped.set()
        front.shutdown()
        thread.join()
        front.server_close()


def environment(url: str) -> dict[str, str]:
    """What tells the libraries of S3 where to ask, and that they may."""
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    given = dict.fromkeys(names, "testing") | {"AWS_DEFAULT_REGION": "us-east-1"}
    return {**given, "AWS_ENDPOINT_URL": url, "no_proxy": "127.0.0.1"}


URL = "s3://bucket/out"


# What is each machine's own, and what only a store needs.
LOCAL = ("current", "serving", "timings.jsonl", "in-use.lock", "promotion.lock")


STORED = (".probe", "current.json")


def stored(directory: Path) -> dict[str, str]:
    """What is in the store, but for what only a store needs."""
    store = fsspec.filesystem("s3", use_listings_cache=False, skip_instance_cache=True)
    store.get("bucket/out", str(directory), recursive=True)
    return {
        name: digest
        for name, digest in results(directory).items()
        if name not in STORED and not name.endswith(".complete") and not name.startswith("modules/")
    }
