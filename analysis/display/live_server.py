"""The live page, served on this machine alone: `resnet-report watch`.

Nothing is written to a run folder: a report that is asked for is built into a folder of the
server's own. Other sites that a browser has open get nothing: the name of the host must be this
machine's own (else a name of theirs could point here), and a report is built only on a request
that no other site can send.
"""

from __future__ import annotations

import errno
import json
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from analysis.display.live import Live, named
from analysis.display.live_files import build_apart, inside, page
from analysis.findings.named_once import require_once
from search.record import UserError, reason
from search.record.terminal import shell
from search.record.uris import as_uri, is_uri

HOST, NAMES = "127.0.0.1", ("127.0.0.1", "localhost")
ASKS = "X-Watch"  # a header that another site's page cannot send without being asked first
PATIENCE = 30.0  # seconds for a request to be sent
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
    ".tex": "text/plain; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".pdf": "application/pdf",
}
OWN = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
APART = "sandbox allow-scripts allow-popups allow-downloads"
INLINE = "style-src 'unsafe-inline'; img-src 'self' data:"


class Server(ThreadingHTTPServer):
    """Serves the page of some runs on loopback.

    Args:
        runs: run folders, there or not yet.
        port: 0 takes a free one.
        scratch: a folder for reports that are built.

    Raises:
        UserError: the port is taken, or may not be had.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, runs: Sequence[Path], port: int, scratch: Path) -> None:
        self.pages = [Live(run.resolve(), named(run)) for run in runs]
        self.scratch, self.building = scratch, threading.Lock()
        self.builds: list[subprocess.Popen[str]] = []
        self.token = secrets.token_hex(4)  # a page of an earlier server knows nothing of this one
        try:
            super().__init__((HOST, port), Handler)
        except OSError as error:
            raise UserError(_no_port(port, error)) from error

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.server_address[1]}/"

    def server_close(self) -> None:
        """Let go of the port, and end what is being built."""
        super().server_close()
        for process in self.builds:
            if process.poll() is None:
                process.kill()
                process.wait()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that has gone is no error; anything else keeps its traceback."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def _no_port(port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        why = "is in use on this machine"
    elif error.errno == errno.EACCES:
        why = "may not be had by this user (ports below 1024 are the system's)"
    else:
        why = f"cannot be had ({reason(error)})"
    return f"--port {port} {why}; name another, or leave it out: a free one is taken then"


class Handler(BaseHTTPRequestHandler):
    """Answers a request."""

    server: Server
    server_version, sys_version = "resnet-report", ""
    timeout = PATIENCE

    def do_GET(self) -> None:
        """The page, how the runs stand, or a file of a report."""
        if not self._ours():
            return
        place = urlsplit(self.path)
        if place.path == "/":
            self._page()
        elif place.path == "/state":
            self._state(parse_qs(place.query).get("since", [""])[0])
        elif (held := self._of_run(place.path)) is not None:
            number, rest = held
            self._file(number, rest)
        else:
            self._fail(HTTPStatus.NOT_FOUND, "there is nothing here")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """Build a report."""
        if not self._ours():
            return
        held = self._of_run(urlsplit(self.path).path)
        if held is None or held[1] != "build":
            self._fail(HTTPStatus.NOT_FOUND, "there is nothing to ask for here")
        elif self.headers.get(ASKS) != "build":
            self._fail(HTTPStatus.FORBIDDEN, "only the page itself may ask for a report")
        else:
            self._build(held[0])

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a page that asks every second would fill the terminal."""

    # -- who asks -----------------------------------------------------------------------------

    def _ours(self) -> bool:
        """Whether the request names this machine; it is refused if not.

        Any port: a tunnel may have its own.
        """
        host = self.headers.get_all("Host") or []
        name = host[0].rpartition(":")[0] if ":" in host[0] else host[0] if host else ""
        if len(host) == 1 and name.lower() in NAMES and _is_port(host[0]):
            return True
        self._fail(HTTPStatus.FORBIDDEN, f"this page is at {' or '.join(NAMES)} alone")
        return False

    def _of_run(self, path: str) -> tuple[int, str] | None:
        """Number of a run and the rest of a path /runs/NUMBER/REST."""
        words = path.split("/", 3)
        if len(words) < 4 or words[1] != "runs" or not words[2].isascii():
            return None
        known = {str(number): number for number in range(len(self.server.pages))}
        return (known[words[2]], words[3]) if words[2] in known else None

    # -- answers ------------------------------------------------------------------------------

    def _page(self) -> None:
        nonce = secrets.token_urlsafe(16)
        text = page([live.run.name for live in self.server.pages], nonce)
        policy = f"{OWN}; connect-src 'self'; script-src 'nonce-{nonce}'; {INLINE}"
        self._send(text.encode(), KINDS[".html"], policy=policy)

    def _state(self, since: str) -> None:
        held = [live.now() for live in self.server.pages]
        versions, states = (
            "-".join(str(number) for number, _ in held),
            [state for _, state in held],
        )
        version = f"{self.server.token}-{versions}"
        if since == version:
            self._send(b"", "", HTTPStatus.NO_CONTENT)
            return
        body = json.dumps({"version": version, "runs": states}).encode()
        self._send(body, "application/json")

    def _file(self, number: int, rest: str) -> None:
        """A file of a report: as it was found in the run folder, or as it was built here."""
        kind, _, name = rest.partition("/")
        folders = {
            "report": self.server.pages[number].run / "report",
            "built": self.server.scratch / str(number),
        }
        path = inside(folders[kind], unquote(name)) if kind in folders and name else None
        if path is None or path.suffix not in KINDS:
            self._fail(HTTPStatus.NOT_FOUND, "there is no such file of a report")
            return
        try:
            body = path.read_bytes()
        except OSError:
            self._fail(HTTPStatus.NOT_FOUND, "that file of the report cannot be read")
            return
        # one from elsewhere may hold any script: it gets an origin of its own
        policy = f"{OWN}; {APART}; script-src 'unsafe-inline'; {INLINE}"
        self._send(body, KINDS[path.suffix], policy=policy)

    def _build(self, number: int) -> None:
        if not self.server.building.acquire(blocking=False):
            self._send(_json(error="a report is being built already"), "application/json")
            return
        try:
            out = self.server.scratch / str(number)
            run, begun = self.server.pages[number].run, self.server.builds.append
            error = build_apart(run, out, begun)
        finally:
            self.server.building.release()
        answer = _json(error=error) if error else _json(url=f"/runs/{number}/built/index.html")
        self._send(answer, "application/json")

    def _fail(self, status: HTTPStatus, text: str) -> None:
        self._send(f"{text}\n".encode(), "text/plain; charset=utf-8", status)

    def _send(
        self, body: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK, policy: str = OWN
    ) -> None:
        self.send_response(status)
        if kind:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
        for name, value in (
            ("Cache-Control", "no-store"),
            ("Content-Security-Policy", policy),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
        ):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _is_port(host: str) -> bool:
    _, colon, port = host.rpartition(":")
    return not colon or (port.isascii() and port.isdigit())


def _json(**held: str) -> bytes:
    return json.dumps(held).encode()


def watch(runs: Sequence[Path], port: int, say: Callable[[str], None]) -> None:
    """Serve the page of runs until Ctrl-C or SIGTERM.

    Args:
        runs: run folders; one that is not there yet is followed once it is.
        port: 0 takes a free one.
        say: takes each line that is told.

    Raises:
        UserError: a run is at a URI, two are the same, the port is none or cannot be had.
    """
    for run in runs:
        if is_uri(run):
            uri = as_uri(run)
            raise UserError(
                f"{uri} is at a URI, and a page follows a folder: where its driver runs, watch "
                "the driver's own copy (runs/NAME there); elsewhere "
                f"`{shell('resnet-search', 'status', uri)}` says how it stands"
            )
    require_once(runs)
    if not 0 <= port <= 65535:
        raise UserError(f"--port {port} is no port; name one from 1 to 65535, or leave it out")
    with (
        tempfile.TemporaryDirectory(prefix="resnet-report-") as scratch,
        Server(runs, port, Path(scratch)) as server,
    ):
        _serve(server, runs, say)
    say("watch ended")


def _serve(server: Server, runs: Sequence[Path], say: Callable[[str], None]) -> None:
    def stop(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        say(f"{server.url} follows {', '.join(map(named, runs))}; Ctrl-C ends it")
        server.serve_forever()
    except KeyboardInterrupt:
        return
    finally:
        signal.signal(signal.SIGTERM, before)
