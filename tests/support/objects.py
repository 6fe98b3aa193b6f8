"""Moto's S3 server in a process of its own, behind a proxy that records and fails requests."""

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

# Moto requires a signature, but does not check it.
_SIGNED = "AWS4-HMAC-SHA256 Credential=testing/20260101/us-east-1/s3/aws4_request"


@dataclass
class Fault:
    """A failure of some requests.

    Attributes:
        pattern: regular expression of the requests, such as `GET .*/1.jpg`.
        kind: HTTP status; or `reset`, `stall`, `half` (of the body), `drip` (a byte every 0.2 s).
        times: number of requests that fail.
    """

    pattern: str
    kind: int | str
    times: int = 1_000_000


class Objects:
    """A bucket, the requests that it received, and the faults to inject."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.url = "s3://bucket"
        self.requests: list[str] = []
        self.faults: list[Fault] = []

    def put(self, key: str, content: bytes) -> None:
        """Write an object without going through the proxy."""
        self._send("PUT", f"/bucket/{quote(key)}", content)

    def put_folder(self, folder: Path, prefix: str) -> str:
        """Write all files of a folder, and return its URL."""
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
            if fault.times > 0 and re.fullmatch(fault.pattern, request):
                fault.times -= 1
                return fault.kind
        return None

    def _send(self, method: str, path: str, content: bytes | None) -> None:
        headers = {"Content-Type": "image/jpeg", "Authorization": _SIGNED}
        request = urllib.request.Request(self.server + path, content, headers, method=method)
        urllib.request.urlopen(request).close()


@contextmanager
def moto(directory: Path) -> Iterator[str]:
    """Start moto's server, and yield its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    settings = os.environ | {"MOTO_S3_DEFAULT_MAX_KEYS": "100"}  # per page of a listing
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
    """Start a proxy in front of the server; yield the bucket and the URL of the proxy."""
    host = server.removeprefix("http://")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            request = f"{self.command} {self.path}"
            objects.requests.append(request)
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
            with suppress(OSError):  # the client has disconnected
                super().handle()

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Log nothing."""

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
    """Return environment variables with the URL and the credentials for S3 libraries."""
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    credentials = dict.fromkeys(names, "testing") | {"AWS_DEFAULT_REGION": "us-east-1"}
    return {**credentials, "AWS_ENDPOINT_URL": url, "no_proxy": "127.0.0.1"}


URL = "s3://bucket/out"


# Files that each machine has for itself, and files that only an object store needs.
LOCAL = ("current", "serving", "timings.jsonl", "in-use.lock", "promotion.lock")
STORED = (".probe", "current.json")


def stored(directory: Path) -> dict[str, str]:
    """Download the output folder; return its `results` without the files that only S3 needs."""
    store = fsspec.filesystem("s3", use_listings_cache=False, skip_instance_cache=True)
    store.get("bucket/out", str(directory), recursive=True)
    return {
        name: digest
        for name, digest in results(directory).items()
        if name not in STORED and not name.endswith(".complete") and not name.startswith("modules/")
    }
