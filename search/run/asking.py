"""A node is asked what it has, from a thread of its own: one that is slow holds up nobody else.

Asking takes a file written to the run folder or store, a task on the node, and a file that comes
back from there. Each of these may be waited for, and the driver has jobs of other nodes to tell.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from dataclasses import asdict, dataclass

from search.run import cluster  # noqa: F401 - first: it sets what ray reads when imported

import ray  # isort: skip

from search.run.clocks import SAME, Offset, offset
from search.run.errors import StoreError
from search.run.failures import why_it_died
from search.run.node import on
from search.run.node_probe import PROBE, Facts, Need, clock, lacks, look
from search.run.store import open_store

FIRST_WAIT = 600.0  # seconds: a node may have to decode a data set before it can say what it has
ARRIVES = 20.0  # seconds in which a file written on one node is seen on another
PING = 15.0  # a node may have to start a process for it
BARE = "install resnet-tune there as it is here, or --ship-code"


@dataclass(frozen=True)
class Answer:
    """What a node has answered.

    Attributes:
        facts: see `search.run.node_probe.look`; None of one that did not answer.
        why_not: what it lacks.
        clock: of its clock to the driver's.
    """

    facts: Facts | None
    why_not: list[str]
    clock: Offset = SAME


class Asking:
    """Asks nodes for what a study needs.

    Args:
        need: what a node must have.
        ours: by what the driver computes; see `search.run.node_probe.computed_by`.
        nonce: a text that nobody can guess.
    """

    def __init__(self, need: Need, ours: Facts, nonce: str) -> None:
        self._need, self._ours, self._nonce = need, ours, nonce
        self._store = open_store(need.run)
        self._busy, self._open = threading.Lock(), 0  # nodes that are being asked

    def ask(self, key: str) -> Future[Answer]:
        """Ask a node; returns at once.

        Args:
            key: Ray's id of it.

        Returns:
            Its answer; StoreError where the run's store does not take the question.
        """
        answer = Future[Answer]()
        run = threading.Thread(target=self._ask, args=(key, answer), daemon=True)
        run.start()
        return answer

    def _ask(self, key: str, answer: Future[Answer]) -> None:
        try:
            self._begin()
            try:
                held = self._answer(key)
            finally:
                self._end()
        except Exception as error:
            answer.set_exception(error)
        else:
            answer.set_result(held)

    def _begin(self) -> None:
        with self._busy:
            if not self._open:
                self._store.make_folder(PROBE)  # nodes make none
                with self._store.writing(f"{PROBE}/nonce") as path:
                    path.write_text(self._nonce, encoding="ascii")
            self._open += 1

    def _end(self) -> None:
        with self._busy:
            self._open -= 1
            if not self._open:
                self._store.remove_folder(PROBE)

    def _answer(self, key: str) -> Answer:
        try:
            call = on(key, look, anew=True).remote(asdict(self._need), self._nonce, key)
            facts: Facts = ray.get(call, timeout=FIRST_WAIT)
        except ray.exceptions.GetTimeoutError:
            ray.cancel(call, force=True)  # it is asked again, and must not have two at it
            return Answer(None, [f"it has not answered within {FIRST_WAIT:g} s"])
        except Exception as error:  # whatever a node that lacks the package, or dies, gives
            return Answer(None, [f"{why_it_died(str(error))[1]}: {BARE}"])
        found = lacks(facts, self._need, self._ours, self._arrived(key, facts))
        return Answer(facts, found, _clock_of(key))

    def _arrived(self, key: str, facts: Facts) -> str:
        """The nonce, when it has come back through the run folder."""
        ends = time.monotonic() + (0.0 if facts["folder"] else ARRIVES)
        while True:
            try:
                if self._store.read(f"{PROBE}/{key}") == self._nonce.encode():
                    return self._nonce
            except (OSError, StoreError):
                pass
            if time.monotonic() >= ends:
                return ""
            time.sleep(0.2)


def _clock_of(key: str) -> Offset:
    """Of a node's clock; the driver's own node has the driver's."""
    if key == ray.get_runtime_context().get_node_id():
        return SAME
    return offset(lambda: float(ray.get(on(key, clock).remote(), timeout=PING)))
