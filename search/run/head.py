"""Tells of a cluster whose head is gone, and ends the run in bounded time.

Ray waits a minute for its head and then ends the driver's process with a line of its own, which
says nothing of the study. What a driver has called of Ray may not return until then.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

from search.record.terminal import FAILED, say

EVERY = 2.0  # seconds between looks
LOST = 30.0  # seconds without a connection until the head is taken for gone; Ray's own are 60
PATIENCE = 15.0  # seconds from there until Ray is left as it is


_fault = ""  # of the head of the cluster that this process has joined
_stepped: float | None = None  # when Tune's loop came round last, monotonic; None outside of it


def fault() -> str:
    """What is wrong with the head of the cluster; "" if nothing is known to be."""
    return _fault


def stepped() -> None:
    """Tune's loop has come round: whatever it has asked of the head, that has answered."""
    global _stepped
    _stepped = time.monotonic()


def ended() -> None:
    """Tune's loop is over."""
    global _stepped
    _stepped = None


@contextlib.contextmanager
def watched(address: str, hint: str) -> Iterator[None]:
    """Around all that is done with a cluster, its end included: `fault` tells when it has no head.

    Where the block does not end by itself then, the process does, exit status 1.

    Args:
        address: HOST:PORT of the head.
        hint: said beside the fault, of what goes on with the study.
    """
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(address, hint, over), name="head", daemon=True)
    watch.start()
    try:
        yield
    finally:
        over.set()


def _watch(address: str, hint: str, over: threading.Event) -> None:
    global _fault
    _fault, heard = "", time.monotonic()
    while time.monotonic() - heard < LOST:
        if over.wait(EVERY):
            return
        if _answers(address) and (not _stands() or _returns(_nodes, LOST)):
            heard = time.monotonic()
    _fault = f"Ray's head at {address} has not answered for {LOST:g} s"
    if not over.wait(PATIENCE):
        say("resnet-search", f"{_fault}. {hint}")
        os._exit(FAILED)


def _stands() -> bool:
    """Whether Tune's loop has not come round for long: a head that hangs still takes connections.

    Then what the driver has called of Ray never returns, and nobody else would notice.
    """
    return _stepped is not None and time.monotonic() - _stepped > LOST


def _returns(call: Callable[[], object], seconds: float) -> bool:
    """Whether a call is over within so many seconds; it is made in a thread of its own."""
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def _nodes() -> None:
    """Ask the head something; it may take for ever."""
    import ray

    with contextlib.suppress(Exception):  # an answer, too
        ray.nodes()


def _answers(address: str) -> bool:
    """Whether something takes a connection at HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except OSError:
        return False
    return True
