"""The nodes of a cluster: each is probed before it takes a job; one that differs takes none.

Ray labels every node with its id, and a trial may ask not to be put on some: that is how a node is
left out, and how a new one is until it has answered. Public interfaces of Ray only.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from search.run import cluster  # noqa: F401 - first: it sets what ray reads when imported

import ray  # isort: skip

from search.run.asking import Answer, Asking
from search.run.bootstrap import ID_LENGTH
from search.run.errors import ExecutionError, StoreError
from search.run.node import Node, said, why
from search.run.node_cuda import odd_cuda, usual_cuda
from search.run.node_probe import Facts, Need

LABEL = "ray.io/node-id"
QUICK = 60.0  # seconds within which a job that is lost says something of its node
LOSSES = 2  # of those in a row, before a node takes no more
SILENT = "it does not answer"
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
        self._asking = Asking(need, ours, secrets.token_hex(16))
        self.all: dict[str, Node] = {}
        self._gone: dict[str, Node] = {}  # that were there: Ray tells of their workers later on
        self._cuda: str | None = None  # that torch is built for on the nodes of this session
        self._alone = False  # whether it was said that no node is left

    def begin(self, strict: bool = False) -> None:
        """Ask every node, and return when all have answered.

        Args:
            strict: refuse a cluster of which one node differs.

        Raises:
            ExecutionError: none may take jobs, or not all with `strict`.
        """
        self._look(wait=True)
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
        self._ask_again()
        before = {node.id for node in self.all.values() if node.known}
        self._look(wait=False)
        for gone in held.keys() - self.all.keys():
            self.note({"event": "node gone", "node": held[gone].name, "id": gone})
            self.say(f"node {held[gone].name} ({held[gone].address}) is gone")
        self._judge(before)
        if held and not self.resources() and not self._alone:
            self.say("no node is left that may take jobs; waiting for one")
        self._alone = not self.resources()

    def resources(self) -> list[Mapping[str, float]]:
        """Of every node that may take jobs."""
        return list(self.resources_by_id().values())

    def resources_by_id(self) -> dict[str, Mapping[str, float]]:
        """The same by Ray's id of each node."""
        return {node.id: node.resources for node in self.all.values() if node.used}

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

    def there(self, text: str) -> Node | None:
        """The node that an error of Ray's names, by its id or its address; None for none."""
        ids = re.findall(r"\b[0-9a-f]{56}\b", text)
        at = re.findall(r"\b(?:ip|IP)[:=] ?([0-9a-fA-F.:]+[0-9a-fA-F])", text)
        seen = [*self._gone.values(), *self.all.values()]  # the newest of an address is the last
        named = [node for node in seen if node.id in ids]
        return next(iter(named or [node for node in seen[::-1] if node.address in at]), None)

    def answers(self, key: str) -> bool:
        """Whether a node is there and is not known to leave questions unanswered."""
        return key in self.all and self.all[key].why_not != [f"quarantine: {SILENT}"]

    def silent(self, key: str) -> None:
        """A node has not answered what it was asked of a worker: it takes no job until it does."""
        node = self.all.get(key)
        if node is not None and node.used:
            self._rest(node, SILENT)

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
            seconds: that the job ran there.
        """
        node = self.all.get(key)
        if node is None or seconds > QUICK:
            return
        node.losses += 1
        if node.losses < LOSSES or not node.used:
            return
        self._rest(node, f"it lost {node.losses} jobs within {QUICK:g} s each")

    def put_aside(self, key: str, why: str) -> bool:
        """Give a node no jobs until it has been asked again, if there is another that takes them.

        Args:
            key: of the node.
            why: for the record, and told.

        Returns:
            Whether another does.
        """
        if not any(node.used for node in self.all.values() if node.id != key):
            return False
        node = self.all.get(key)
        if node is not None and node.used:
            self._rest(node, why)
        return True

    @property
    def resting(self) -> bool:
        """Whether no node may take jobs now, but one may soon: it is asked again."""
        # for one that never took any, nobody waits: others may join
        return not self.resources() and any(
            (node.asked is not None or node.again_at is not None)
            and (node.rests or not node.refusals)
            for node in self.all.values()
        )

    def _rest(self, node: Node, text: str) -> None:
        node.why_not, node.told = [f"quarantine: {text}"], None
        node.rests += 1
        rest = self._again_later(node)
        about = {"node": node.name, "id": node.id, "seconds": rest, "why": text}
        self.note({"event": "quarantine", **about})
        self.say(f"node {node.name}: {text}: quarantine; it is asked again in {rest:g} s")

    def _again_later(self, node: Node) -> float:
        """Ask it again in a while, in seconds; longer each time."""
        rest = REST * 2.0 ** min(node.rests + node.refusals - 1, 5)
        node.again_at = time.monotonic() + rest
        return rest

    def well(self, key: str) -> None:
        """A job has ended well on a node."""
        if node := self.all.get(key):
            node.losses = node.rests = 0

    def _ask_again(self) -> None:
        """Forget what those have answered whose time has come: what they lacked may be mended."""
        for node in self.all.values():
            if node.again_at is not None and time.monotonic() >= node.again_at:
                node.again_at, node.why_not, node.facts = None, [], None

    # -- asking -----------------------------------------------------------------------------------

    def _look(self, wait: bool) -> None:
        """See who is there, ask who is new, and take the answers; all of them if `wait`."""
        alive = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
        for gone in self.all.keys() - alive.keys():
            self._gone[gone] = self.all.pop(gone)
        for key, held in alive.items():
            if key in self.all:
                continue
            address = str(held["NodeManagerAddress"])
            self.all[key] = Node(key, address, address, held["Resources"])
        for node in self.all.values():
            if not node.known and node.asked is None:
                node.asked = self._asking.ask(node.id)
        for node in self.all.values():
            if node.asked is not None and (wait or node.asked.done()):
                self._take(node, node.asked, wait)

    def _take(self, node: Node, asked: Future[Answer], wait: bool) -> None:
        try:
            answer = asked.result()
        except StoreError:
            if wait:
                raise
            # the study goes on without it, and it is asked when the run's store answers
            return
        finally:
            node.asked = None
        node.facts, node.why_not = answer.facts, list(answer.why_not)
        node.clock = answer.clock
        if answer.facts:
            node.name = str(answer.facts["node"])

    def _judge(self, before: set[str]) -> None:
        """Say of every node that was not known before whether it takes jobs.

        Only beside the others it shows that one's torch is built for another CUDA: beside most
        when the study begins, and beside those that it began with from then on.
        """
        sound = [node.facts for node in self.all.values() if node.used and node.facts]
        if self._need.gpu and self._cuda is None:
            self._cuda = usual_cuda(sound, self._ours)
        for node in self.all.values():
            if not node.known or node.id in before:
                continue
            if node.facts and (odd := odd_cuda(node.facts, self._cuda)):
                node.why_not.append(odd)
            node.refusals = node.refusals + 1 if node.why_not else 0
            again = self._again_later(node) if node.why_not else 0.0
            if node.told != node.why_not:
                self._told(node, again)

    # -- telling ----------------------------------------------------------------------------------

    def _told(self, node: Node, again: float) -> None:
        before, node.told = node.told, list(node.why_not)
        facts, bound = node.facts or {}, node.clock.bound
        self.note(
            {
                "event": "node",
                "node": node.name,
                "id": node.id,
                "address": node.address,
                "used": node.used,
                "why_not": node.why_not,
                "clock_offset": round(node.clock.seconds, 3),
                "clock_bound": None if bound is None else round(bound, 3),
                **{key: facts.get(key) for key in ("code", "versions", "gpus", "mps", "free_mb")},
            }
        )
        more = "; it was left out before, and takes jobs now" * (node.used and bool(before))
        more = more or f"; it is asked again in {again:g} s" * bool(again)
        self.say(f"{said(node)}{more}")
        if node.clock.differs:
            self.say(
                f"note: the clock of {node.name} is {node.clock.seconds:+.0f} s from this one's "
                f"(measured to {bound:.1f} s); synchronize them (chrony, ntpd), or times on "
                "record do not compare"
            )
