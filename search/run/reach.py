"""Whether something answers, in a few seconds: the host of a download, a Ray cluster.

Ray itself tries a dead address for minutes and prints its own lines meanwhile. Loads nothing.
"""

from __future__ import annotations

import os
import queue
import re
import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import TypeVar

from search.run.errors import ExecutionError
from search.run.options import PreflightError

SECONDS = 3.0
PORTS = 65535
NO_HEAD = (HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED)  # it does answer
# gRPC is HTTP/2: to this beginning its server answers with a frame of its settings
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
FRAME, SETTINGS = 9, 4  # bytes of a frame's head, and the type that stands in its fourth
LOOPBACK = ("localhost", "127.0.0.1", "::1")
# not "leave --address out": `resume` then takes that of the last session
HERE = "give `--address local` to run on this machine"

Answer = TypeVar("Answer")


def download_fault(url: str) -> tuple[str, int]:
    """Whether a file can be had, by asking for its head; proxies of the environment are used.

    Returns:
        Why it cannot, "" if it can; and its bytes, 0 where that is not said.
    """
    request = urllib.request.Request(url, method="HEAD")

    def ask() -> int:
        # a new opener: urllib's own keeps the proxies of its first use
        with urllib.request.build_opener().open(request, timeout=SECONDS) as answer:
            return int(answer.headers.get("Content-Length") or 0)

    try:
        return "", _within(SECONDS, ask)
    except urllib.error.HTTPError as error:
        return ("" if error.code in NO_HEAD else f"it answers {error.code} {error.reason}"), 0
    except urllib.error.URLError as error:
        return str(error.reason), 0
    except (OSError, HTTPException, ssl.SSLError, ValueError) as error:
        return str(error) or type(error).__name__, 0


def _within(seconds: float, call: Callable[[], Answer]) -> Answer:
    """What a call returns or raises, if that is soon; to look up a name has no time limit.

    Raises:
        TimeoutError: it was not.
    """
    held: queue.SimpleQueue[Callable[[], Answer]] = queue.SimpleQueue()

    def work() -> None:
        try:
            answer = call()
        except Exception as error:  # raised again where it is asked for
            raised = error
            held.put(lambda: _raise(raised))
        else:
            held.put(lambda: answer)

    threading.Thread(target=work, daemon=True).start()
    try:
        found = held.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer in {seconds:g} s") from None
    return found()


def _raise(error: Exception) -> Answer:  # type: ignore[type-var]
    raise error


def check_address(
    address: str, local_ip: Callable[[], str] | None = None, before: bool = False
) -> None:
    """Refuse an address at which no Ray cluster answers.

    Args:
        address: as `--address` is given.
        local_ip: the address that Ray takes this machine's loopback for, where Ray is loaded.
        before: it is not given, but the last session's.

    Raises:
        PreflightError: it is no address.
        ExecutionError: nothing answers, or something else than a cluster does.
    """
    if address == "local":
        return
    said = f"--address {address}{', as in the last session' * before}"
    if address == "auto":
        address, source = _of_auto()
        if not address:
            return  # Ray looks for a process of its own, and says at once if there is none
        said = f"{said}, which is {address} by {source}"
    if address.startswith("ray://"):
        raise PreflightError(
            f"{said}: ray:// is Ray's client, which keeps the journal from Tune; run this "
            "command on a machine of the cluster with --address auto, or by `ray job submit`"
        )
    host, port = _parsed(address, said)
    if local_ip and host in LOOPBACK:
        host = local_ip()
        said = f"{said} ({host} to Ray)"
    _knock(host, port, said)


def _of_auto() -> tuple[str, str]:
    """The address that Ray takes `auto` for, "" where it has to search; and who says so."""
    if named := os.environ.get("RAY_ADDRESS"):
        return ("" if named == "auto" else named), "RAY_ADDRESS"
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    path = Path(folder) / "ray" / "ray_current_cluster"  # of the last `ray start`
    try:
        return path.read_text(encoding="utf-8").strip(), str(path)
    except (OSError, UnicodeDecodeError):
        return "", ""


def _parsed(address: str, said: str) -> tuple[str, int]:
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):(\d{1,5})", address)
    if found is None or not 0 < int(found[2]) <= PORTS:
        raise PreflightError(
            f"{said} is no address: local, auto, or the HOST:PORT that `ray start --head` printed"
        )
    return found[1].strip("[]"), int(found[2])


def _knock(host: str, port: int, said: str) -> None:
    """See whether a gRPC server answers, as a Ray cluster's head is one.

    Raises:
        ExecutionError: no.
    """
    try:
        head = _within(SECONDS + 1, lambda: _answer(host, port))
    except (OSError, UnicodeError) as error:  # a name that is no host's
        raise ExecutionError(
            f"nothing answers at {said} ({error}); give the HOST:PORT that `ray start --head` "
            f"printed, or {HERE}"
        ) from error
    # encrypted, it takes no plain word
    if not os.environ.get("RAY_USE_TLS") and (len(head) < FRAME or head[3] != SETTINGS):
        raise ExecutionError(
            f"no Ray cluster at {said}: something else listens there; give the HOST:PORT that "
            f"`ray start --head` printed, or {HERE}"
        )


def _answer(host: str, port: int) -> bytes:
    """The first bytes of a listener's answer; fewer than FRAME where it has none."""
    with socket.create_connection((host, port), timeout=SECONDS) as link:
        head = b""
        try:
            link.sendall(PREFACE)
            while len(head) < FRAME and (more := link.recv(FRAME - len(head))):
                head += more
        except OSError:  # it hangs up, or is silent
            return head
        return head
