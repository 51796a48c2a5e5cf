"""Signals that ask a run to stop, whoever sends them and whenever they come.

Ctrl-C, a batch system's SIGTERM, its warning before that (SLURM's --signal=USR1@300, or USR2) and
a closed terminal's SIGHUP mean the same. Where nothing can be ended in order yet, or any more,
they raise KeyboardInterrupt, and what was written stands; `executor` ends Ray's experiment.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)
# not those that end Ray's processes themselves: they would outlive a killed driver
OURS_ALONE = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)


@contextlib.contextmanager
def handled(handler: Callable[[int, Any], None]) -> Iterator[None]:
    """Give every signal that asks to stop to a handler; one that is ignored (nohup) stays so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, handler)
        for number in STOPS
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, held in before.items():
            signal.signal(number, held)


def interrupt(number: int, frame: Any) -> None:
    """A handler: as Ctrl-C."""
    raise KeyboardInterrupt(signal.Signals(number).name)


@contextlib.contextmanager
def kept_from_children() -> Iterator[None]:
    """Processes that are started in the block, and those they start, do not see OURS_ALONE.

    A batch system sends a warning to every process of a job, and Ray's would die of it before the
    driver can end them in order. What arrives meanwhile is handled at the end of the block: other
    threads have masks of their own, so the handlers only take note until then. Handlers that the
    block sets (Ray's own exits with the number of the signal) are set back.
    """
    main = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in STOPS} if main else {}
    noted: list[int] = []
    for number, handler in handlers.items():
        if number in OURS_ALONE and callable(handler):
            signal.signal(number, lambda n, frame: noted.append(n))
    held = signal.pthread_sigmask(signal.SIG_BLOCK, OURS_ALONE)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)  # what was held up is noted here
        for number, handler in handlers.items():
            if handler is not None:
                signal.signal(number, handler)
    if noted:
        handler = handlers[signal.Signals(noted[0])]
        assert callable(handler)
        handler(noted[0], None)
