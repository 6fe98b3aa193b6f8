"""A local web server for downloads that are slow, incomplete or redirected."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Page:
    """A response of the server.

    Attributes:
        content: body.
        status: HTTP status.
        location: target of a redirect.
        query: query that returns the content; other requests get an HTML page.
        etag: ETag; a range is served only if the If-Range header matches it.
        ranges: whether range requests are supported.
        length: whether Content-Length is sent.
        breaks: number of bytes after which the first, second, ... transfer is cut off.
        stalls: number of bytes after which nothing is sent any more.
    """

    content: bytes = b""
    status: int = 200
    location: str = ""
    query: str = ""
    etag: str = '"1"'
    ranges: bool = True
    length: bool = True
    breaks: list[int] = field(default_factory=list)
    stalls: int | None = None


class Web:
    """The pages of the server by path, and the requests that it received."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.pages: dict[str, Page] = {}
        self.requests: list[str] = []
        self.ranges: list[str] = []

    def put(self, path: str, page: Page | bytes) -> str:
        self.pages[path] = page if isinstance(page, Page) else Page(page)
        return self.url + path


@contextmanager
def serve() -> Iterator[Web]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            wanted = self.headers.get("Range", "")
            web.requests.append(self.path)
            web.ranges.append(wanted)
            page = web.pages.get(path, Page(b"<html>not found</html>", 404))
            if page.query and query != page.query:
                page = Page(b"<html>what the module is about</html>")
            start = self.start(page, wanted)
            if start and start >= len(page.content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(page.content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if start else page.status)
            if page.location:
                self.send_header("Location", page.location)
            if start:
                size = len(page.content)
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            if page.etag:
                self.send_header("ETag", page.etag)
            if page.length:
                self.send_header("Content-Length", str(len(page.content) - start))
            self.end_headers()
            end = page.breaks.pop(0) if page.breaks else None
            if page.stalls is not None:
                self.wfile.write(page.content[start : page.stalls])
                stopped.wait(30)
                return
            self.wfile.write(page.content[start:end])

        def start(self, page: Page, wanted: str) -> int:
            match = re.fullmatch(r"bytes=(\d+)-", wanted)
            same = self.headers.get("If-Range", page.etag) == page.etag
            return int(match[1]) if match and page.ranges and same else 0

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    stopped = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web = Web(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield web
    finally:
        stopped.set()
        server.shutdown()
        thread.join()
        server.server_close()
