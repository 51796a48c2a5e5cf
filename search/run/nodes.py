"""The nodes of a cluster: each is probed before it takes a job; one that differs takes none.

Ray labels every node with its id, and a trial may ask not to be put on some: that is how a node is
left out, and how a new one is until it has answered. Public interfaces of Ray only.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from search.run import cluster  # noqa: F401 - first: it sets what ray reads when imported

import ray  # isort: skip

from search.run.deadline import end_if_hung
from search.run.errors import ExecutionError, StoreError
from search.run.failures import why_it_died
from search.run.node import Node, on, said, why
from search.run.node_probe import (
    CLOCK_SECONDS,
    PROBE,
    Facts,
    Need,
    clock,
    lacks,
    look,
    odd_cuda,
)
from search.run.store import open_store
from search.run.watch import stacks
from search.run.worker import ID_LENGTH

LABEL = "ray.io/node-id"
FIRST_WAIT = 600.0  # seconds: a node may have to decode a data set before it can say what it has
ARRIVES = 20.0  # seconds in which a file written on one node is seen on another
PING = 15.0  # a node may have to start a process for it
BARE = "install resnet-tune there as it is here, or --ship-code"
QUICK = 60.0  # seconds within which a job that is lost says something of its node
LOSSES = 2  # of those in a row, before a node takes no more
REST = 30.0  # seconds until it is asked again; twice as long each time


class Nodes:
    """Who may take jobs; asks every node that it has not seen yet.

    Args:
        need: what a node must have.
        ours: by what the driver computes; see `search.run.node_probe.computed_by`.
        say: told of every node that is left out, and of those that join.
        note: given an event for the record, for every node that has answered.
    """

    def __init__(
        self,
        need: Need,
        ours: Facts,
        say: Callable[[str], None],
        note: Callable[[dict[str, Any]], None],
    ) -> None:
        self._need, self._ours, self.say, self.note = need, ours, say, note
        self._nonce = secrets.token_hex(16)
        self._store = open_store(need.run)
        self.all: dict[str, Node] = {}
        self._alone = False  # whether it was said that no node is left

    def begin(self, strict: bool = False) -> None:
        """Ask every node, and return when all have answered.

        Args:
            strict: refuse a cluster of which one node differs.

        Raises:
            ExecutionError: none may take jobs, or not all with `strict`.
        """
        self._look(FIRST_WAIT)
        self._judge(set())
        left = [node for node in self.all.values() if not node.used]
        if left and (strict or len(left) == len(self.all)):
            asked = "--strict asks for all of them" if strict else "none is left"
            lines = [f"  {node.name} ({node.address}): {why(node)}" for node in left]
            raise ExecutionError(
                f"{len(left)} of {len(self.all)} nodes cannot take this study's jobs, and "
                f"{asked}:\n" + "\n".join(lines)
            )

    def refresh(self) -> None:
        """See who has come, gone or answered; returns at once."""
        held = dict(self.all)
        self._end_quarantines()
        before = {node.id for node in self.all.values() if node.known}
        self._look(0.0)
        for gone in held.keys() - self.all.keys():
            self.note({"event": "node gone", "node": held[gone].name, "id": gone})
            self.say(f"node {held[gone].name} ({held[gone].address}) is gone")
        self._judge(before)
        if held and not self.resources() and not self._alone:
            self.say("no node is left that may take jobs; waiting for one")
        self._alone = not self.resources()

    def resources(self) -> list[Mapping[str, float]]:
        """Of every node that may take jobs."""
        return [node.resources for node in self.all.values() if node.used]

    def labels(self) -> dict[str, str] | None:
        """What a job asks of its node, as Ray's `label_selector`; None where any will do.

        By who is left out, not by who may take it: an autoscaler starts a node that does not exist
        yet for the one, not for the other.
        """
        out = sorted(node.id for node in self.all.values() if not node.used)
        return {LABEL: f"!in({','.join(out)})"} if out else None

    def asked(self) -> list[str]:
        """Of every node that may take jobs, the first characters of its id."""
        return [node.id[:ID_LENGTH] for node in self.all.values() if node.used]

    def answers(self, key: str) -> bool:
        """Whether a node does; one that does not takes no job until it is asked again."""
        node = self.all.get(key)
        if node is None or not node.used:
            return False
        try:
            ray.get(on(node, clock).remote(), timeout=PING)
        except Exception:
            self._rest(node, "it does not answer")
            return False
        return True

    def gpu_kinds(self) -> list[dict[str, str]]:
        """The label of one node for each kind of GPU that jobs may be put on."""
        kinds: dict[str, dict[str, str]] = {}
        for node in self.all.values():
            if node.used and node.resources.get("GPU"):
                names = node.facts["gpus"] if node.facts else []
                kinds.setdefault(",".join(sorted(set(names))), {LABEL: node.id})
        return list(kinds.values())

    # -- quarantine -------------------------------------------------------------------------------

    def lost(self, key: str, seconds: float) -> None:
        """A job was lost on a node; one that loses two quickly takes no more until it is asked.

        Args:
            key: of the node.
            seconds: that the job was out.
        """
        node = self.all.get(key)
        if node is None or seconds > QUICK:
            return
        node.losses += 1
        if node.losses < LOSSES or not node.used:
            return
        self._rest(node, f"it lost {node.losses} jobs within {QUICK:g} s each")

    def _rest(self, node: Node, text: str) -> None:
        rest = REST * 2 ** min(node.rests, 5)
        node.rests, node.again_at = node.rests + 1, time.monotonic() + rest
        node.why_not = [f"quarantine: {text}"]
        self.note({"event": "quarantine", "node": node.name, "id": node.id, "seconds": rest})
        self.say(f"node {node.name}: {text}: quarantine; it is asked again in {rest:g} s")

    def well(self, key: str) -> None:
        """A job has ended well on a node."""
        if node := self.all.get(key):
            node.losses = node.rests = 0

    def _end_quarantines(self) -> None:
        for node in self.all.values():
            if node.again_at is not None and time.monotonic() >= node.again_at:
                node.again_at, node.why_not, node.facts, node.asked = None, [], None, None

    def stacks(self, key: str, run: str, trial: str, since: float) -> list[Path]:
        """What stalled workers of a trial have left on a node since a time of day of this one."""
        if key not in self.all:
            return []
        node = self.all[key]
        try:
            call = on(node, stacks).remote(run, trial, since + node.clock_offset)
            return list(ray.get(call, timeout=PING))
        except Exception:  # it is gone, and nothing of it can be known
            return []

    def end_if_hung(self, key: str, pid: int, seconds: float) -> str:
        """Look at a silent worker from another process of its node; see `deadline`.

        Args:
            key: of the node.
            pid: of the worker.
            seconds: without a step, after which it is ended.

        Returns:
            What was seen of one that was ended; "" of one that is well, or cannot be asked about.
        """
        if key not in self.all:
            return ""
        try:
            call = on(self.all[key], end_if_hung).remote(pid, seconds)
            return str(ray.get(call, timeout=PING))
        except Exception:  # Ray itself tells of a node that is gone
            return ""

    # -- asking -----------------------------------------------------------------------------------

    def _look(self, wait: float) -> None:
        alive = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
        for gone in self.all.keys() - alive.keys():
            del self.all[gone]
        for key in alive.keys() - self.all.keys():
            held = alive[key]
            address = str(held["NodeManagerAddress"])
            self.all[key] = Node(key, address, address, held["Resources"])
        waiting = [node for node in self.all.values() if not node.known]
        if not waiting:
            return
        new = [node for node in waiting if not node.asked]
        try:
            if new:
                self._write_nonce()
        except StoreError:
            if wait:
                raise
            return  # the study goes on without them, and they are asked when its store answers
        for node in new:
            node.asked = self._ask(node), time.monotonic()
        self._collect(waiting, wait)
        if all(node.known for node in self.all.values()):
            self._store.remove_folder(PROBE)

    def _write_nonce(self) -> None:
        self._store.make_folder(PROBE)  # nodes make none
        with self._store.writing(f"{PROBE}/nonce") as path:
            path.write_text(self._nonce, encoding="ascii")

    def _ask(self, node: Node) -> Any:
        return on(node, look).remote(asdict(self._need), self._nonce, node.id)

    def _collect(self, waiting: list[Node], wait: float) -> None:
        """Take the answers that are there, and those that come within `wait` seconds."""
        ends = time.monotonic() + wait
        pending = {node.asked[0]: node for node in waiting if node.asked}
        while pending:
            left = max(0.0, ends - time.monotonic())
            done, _ = ray.wait(list(pending), num_returns=1, timeout=left)
            if not done:
                break
            self._take(pending.pop(done[0]), done[0])
        for node in pending.values():
            assert node.asked is not None
            if time.monotonic() - node.asked[1] > FIRST_WAIT:
                node.why_not = [f"it has not answered within {FIRST_WAIT:g} s"]

    def _take(self, node: Node, answer: Any) -> None:
        try:
            facts: Facts = ray.get(answer)
        except Exception as error:  # whatever a node that lacks the package, or dies, gives
            node.why_not = [f"{why_it_died(str(error))[1]}: {BARE}"]
            return
        node.name = str(facts["node"])
        node.why_not = lacks(facts, self._need, self._ours, self._answered(node, facts))
        node.clock_offset = self._clock_offset(node)
        node.facts = facts

    def _answered(self, node: Node, facts: Facts) -> str:
        """The nonce, when it has come back through the run folder."""
        ends = time.monotonic() + (0.0 if facts["folder"] else ARRIVES)
        while True:
            try:
                if self._store.read(f"{PROBE}/{node.id}") == self._nonce.encode():
                    return self._nonce
            except (OSError, StoreError):
                pass
            if time.monotonic() >= ends:
                return ""
            time.sleep(0.2)

    def _clock_offset(self, node: Node) -> float:
        before = time.time()
        try:
            there = float(ray.get(on(node, clock).remote(), timeout=PING))
        except Exception:  # it has just answered; what a clock says decides nothing
            return 0.0
        return there - (before + time.time()) / 2

    def _judge(self, before: set[str]) -> None:
        """Say of every node that was not known before whether it takes jobs.

        Only beside the others it shows that one's torch is built for another CUDA.
        """
        held = {node.id: node.facts for node in self.all.values() if node.facts}
        odd = odd_cuda(held) if self._need.gpu else {}
        for node in self.all.values():
            if node.known and node.id not in before:
                node.why_not += [odd[node.id]] if node.id in odd else []
                self._told(node)

    # -- telling ----------------------------------------------------------------------------------

    def _told(self, node: Node) -> None:
        facts = node.facts or {}
        self.note(
            {
                "event": "node",
                "node": node.name,
                "id": node.id,
                "address": node.address,
                "used": node.used,
                "why_not": node.why_not,
                "clock_offset": round(node.clock_offset, 3),
                **{key: facts.get(key) for key in ("code", "versions", "gpus", "mps", "free_mb")},
            }
        )
        self.say(said(node))
        if abs(node.clock_offset) > CLOCK_SECONDS:
            self.say(
                f"note: the clock of {node.name} is {node.clock_offset:+.0f} s from this one's; "
                "synchronize them (chrony, ntpd), or times on record do not compare"
            )
