"""Tells an autoscaler what a study could use, since it is given no more jobs than there are slots.

Ray's autoscaler adds nodes for what waits in Ray's queues. Nothing of ours waits there: a decision
is best made when a worker is really free. So room for it is asked for; on a cluster of fixed size
nobody reads that.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from search.run import cluster  # noqa: F401 - first: it sets what ray reads when imported

from ray.autoscaler.sdk import request_resources  # isort: skip
from ray.tune import Callback  # isort: skip

if TYPE_CHECKING:
    from search.run.study import Study

EVERY = 5.0  # seconds
MOST = 1000  # jobs asked for at once; the autoscaler's own limit (maxReplicas) is below that

Bundles = list[dict[str, float]]


_asked: Bundles = []  # of the autoscaler, by this process


class Demand(Callback):  # type: ignore[misc]
    """Asks for room for every job that could run now, running ones included, as that changes.

    Args:
        study: whose jobs.
    """

    def __init__(self, study: Study) -> None:
        self._study, self._next, self._refused = study, 0.0, False

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Ask anew where the number of jobs that could run has changed."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + EVERY
        wanted = bundles(self._study)
        try:
            ask(wanted)
        except Exception as error:  # the study itself can go on with the nodes that are there
            if not self._refused:
                self._study.say(f"note: no room can be asked of an autoscaler ({error})")
            self._refused = True

    def __getstate__(self) -> dict[str, Any]:
        """Nothing to keep; see JobSearcher."""
        return {}


@contextlib.contextmanager
def withdrawn() -> Iterator[None]:
    """Around experiments: a request stands until it is withdrawn, and keeps idle nodes."""
    try:
        yield
    finally:
        with contextlib.suppress(Exception):  # of a cluster that is gone; what ended it is told
            ask([])


def ask(wanted: Bundles) -> None:
    """Ask the autoscaler, if there is one, for nodes on which all of this fits at once."""
    if wanted != _asked:
        request_resources(bundles=wanted)
        _asked[:] = wanted


def bundles(study: Study) -> Bundles:
    """What each job that could run now asks of a node, at most MOST of them."""
    shapes = islice(study.usable().elements(), MOST)
    return [{"CPU": cpus, "GPU": gpus} if gpus else {"CPU": cpus} for cpus, gpus in shapes]
