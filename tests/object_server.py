"""Servers of files for the tests of remote inputs, on loopback, which can be told to fail."""

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.utils import formatdate
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

Answer = tuple[int, dict[str, str], bytes]
Fault = str
"""``"503"``: that status; ``"drop"``: no answer; ``"cut"``: half of the body, then the connection
breaks; ``"slow"``: an answer after the client has given up; ``"ignore"``: all of the file."""


class FileServer:
    """Answers requests, wrongly as long as there are faults.

    Attributes
    ----------
    faults
        Taken from the front, one for each request for more than a byte.
    fault_of
        Asked first, with the range of the request: its fault, or None.
    requests
        Method, path and range of each request.
    """

    def __init__(self, answer: Callable[[str, str, dict[str, str]], Answer]) -> None:
        self.faults: list[Fault] = []
        self.fault_of: Callable[[str], Fault | None] = lambda _: None
        self.requests: list[tuple[str, str, str | None]] = []
        self._answer = answer
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()

    def _take_fault(self, stretch: str, length: int) -> Fault | None:
        chosen = self.fault_of(stretch)
        if chosen is not None:
            return chosen
        with self._lock:
            return self.faults.pop(0) if self.faults and length > 1 else None

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_HEAD(self) -> None:
                owner.reply(self)

            def do_GET(self) -> None:
                owner.reply(self)

        return Handler

    def reply(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer a request, or fail to."""
        headers = dict(handler.headers)
        self.requests.append((handler.command, handler.path, handler.headers.get("Range")))
        answer = self._answer(handler.command, handler.path, headers)
        stretch = handler.headers.get("Range") or ""
        fault = self._take_fault(stretch, len(answer[2])) if handler.command == "GET" else None
        if fault == "drop":
            handler.close_connection = True
            return
        if fault == "slow":
            self._stopped.wait(3)
        if fault == "ignore":
            kept = {name: value for name, value in headers.items() if name.lower() != "range"}
            answer = self._answer(handler.command, handler.path, kept)
        if fault and fault.isdigit():
            answer = (int(fault), {}, b"")
        with suppress(OSError):
            _send(handler, answer, cut=fault == "cut")


def _send(handler: BaseHTTPRequestHandler, answer: Answer, *, cut: bool) -> None:
    status, headers, body = answer
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body[: len(body) // 2] if cut else body)
    handler.close_connection = cut


def serve_folder(folder: Path, *, etags: bool = True, ranges: bool = True) -> FileServer:
    """Serve the files of a folder; the tag of a file follows its bytes' time of change."""

    def answer(method: str, path: str, headers: dict[str, str]) -> Answer:
        file = folder / unquote(urlsplit(path).path).lstrip("/")
        if file.name.startswith("secret"):
            return 403, {}, b""
        if not file.is_file():
            return 404, {}, b""
        data, status = file.read_bytes(), file.stat()
        found = {"Last-Modified": formatdate(status.st_mtime, usegmt=True)}
        if etags:
            found["ETag"] = f'"{status.st_mtime_ns:x}-{len(data):x}"'
        lower = {name.lower(): value for name, value in headers.items()}
        if lower.get("if-match", found.get("ETag")) != found.get("ETag"):
            return 412, found, b""
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", lower.get("range", "")) if ranges else None
        if match is None:
            length = {"Content-Length": str(len(data))}
            return 200, found | length, b"" if method == "HEAD" else data
        begin, end = int(match[1]), min(int(match[2]) + 1, len(data))
        if begin >= len(data):
            return 416, found, b""
        found["Content-Range"] = f"bytes {begin}-{end - 1}/{len(data)}"
        return 206, found, data[begin:end]

    return FileServer(answer)


def serve_upstream(url: str) -> FileServer:
    """Hand requests on to another server."""
    host = urlsplit(url).netloc

    def answer(method: str, path: str, headers: dict[str, str]) -> Answer:
        connection = HTTPConnection(host, timeout=30)
        try:
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            body = response.read()
            skipped = ("connection", "transfer-encoding", "server", "date")
            if method == "GET":
                skipped += ("content-length",)
            found = {k: v for k, v in response.getheaders() if k.lower() not in skipped}
            return response.status, found, body
        finally:
            connection.close()

    return FileServer(answer)


class Bucket:
    """A bucket of moto's server, which speaks S3."""

    def __init__(self, endpoint: str, name: str) -> None:
        self.endpoint, self.name = endpoint, name
        self._put(f"/{name}", b"")

    def _put(self, path: str, body: bytes) -> None:
        connection = HTTPConnection(urlsplit(self.endpoint).netloc, timeout=30)
        try:
            signed = "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request"
            connection.request("PUT", path, body, {"Authorization": signed})
            status = connection.getresponse().status
            assert status == 200, status
        finally:
            connection.close()

    def put(self, key: str, body: bytes) -> str:
        """Store an object; gives its address."""
        self._put(f"/{self.name}/{key}", body)
        return f"s3://{self.name}/{key}"


@contextmanager
def serve_objects() -> Iterator[str]:
    """Run moto's server; gives its address."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 - takes seconds

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def wait_for(condition: Callable[[], Any], seconds: float = 30) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
