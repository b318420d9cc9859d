"""A local HTTP server of one file that simulates failing downloads."""

import contextlib
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Iterator, List, NamedTuple, Optional

FILE = "/file"


class Fault(NamedTuple):
    """What happens to one request.

    cut: bytes of the body after which the connection ends; stall: bytes after which the server pauses for `seconds`;
    status: an HTTP error instead; no_range: ignore the requested range; no_length: send no Content-Length; body: send
    another file; elsewhere: redirect to the file; tag: the file's version, by which If-Range asks.
    """

    cut: Optional[int] = None
    stall: Optional[int] = None
    seconds: float = 0.0
    status: Optional[int] = None
    no_range: bool = False
    no_length: bool = False
    body: Optional[bytes] = None
    elsewhere: bool = False
    tag: Optional[str] = None


class FileServer:
    """`faults` are for the next requests, in order; `ranges` records the Range header of each request."""

    def __init__(self, content: bytes, port: int):
        self.content, self.url = content, f"http://127.0.0.1:{port}{FILE}"
        self.faults: List[Fault] = []
        self.ranges: List[Optional[str]] = []


@contextlib.contextmanager
def served(content: bytes) -> Iterator[FileServer]:
    """Serve `content` until the context ends."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    http.daemon_threads = True
    http.file = FileServer(content, http.server_address[1])
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield http.file
    finally:
        http.shutdown()
        http.server_close()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):  # noqa: N802  the name that the library calls
        file = self.server.file
        asked = self.headers.get("Range")
        file.ranges.append(asked)
        fault = file.faults.pop(0) if file.faults else Fault()
        if fault.elsewhere:
            self.send_response(302)
            self.send_header("Location", FILE + "/elsewhere")
            self.end_headers()
        elif fault.status:
            self.send_error(fault.status)
        else:
            changed = self.headers.get("If-Range", fault.tag) != fault.tag
            self._send(fault, fault.body or file.content, None if changed else asked)

    def _send(self, fault: Fault, body: bytes, asked: Optional[str]) -> None:
        start = int(re.match(r"bytes=(\d+)-", asked)[1]) if asked and not fault.no_range else 0
        if start > 0 and start >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if fault.tag:
            self.send_header("ETag", fault.tag)
        if not fault.no_length:
            self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        rest = body[start:]
        if fault.stall is not None:
            self.wfile.write(rest[: fault.stall])
            self.wfile.flush()
            time.sleep(fault.seconds)
            return
        self.wfile.write(rest[: len(rest) if fault.cut is None else fault.cut])

    def log_message(self, *_):
        pass
