"""Checkpoints of a trial: what they hold, written whole or not at all, off the training thread."""

from __future__ import annotations

import json
import os
import pickle
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainables.engine.average import Average
from trainables.files import own_partial, whole

Row = dict[str, float]


class DamagedCheckpoint(RuntimeError):
    """A checkpoint is not what was written; nothing in it has been run."""


@dataclass
class Progress:
    """How far a trial is: what a checkpoint holds beside network and optimizer.

    `trial` is what makes the trial what it is, plain values by name. `other` is never written: in
    what a checkpoint that was there is another trial's.
    """

    epoch: int = 0
    rows: list[Row] = field(default_factory=list)
    best_epoch: int = 0
    best_weights: dict[str, Tensor] | None = None
    trial: Mapping[str, Any] = field(default_factory=dict)
    other: str = ""


class Writer:
    """Writes checkpoints on a thread of its own, one at a time; training goes on meanwhile.

    Args:
        path: of the checkpoint.
        every: seconds after which another is due, and 50 times what the last one took (a crowd
            net's is two gigabytes).
        on_whole: called, on that thread, with the path when a checkpoint is whole.

    Attributes:
        count: checkpoints written.
        megabytes: size of the last one, MiB.
        seconds: that training waited for them.
    """

    def __init__(
        self, path: Path, every: float, on_whole: Callable[[Path], None] | None = None
    ) -> None:
        self._path, self._every, self._wait, self._on_whole = path, every, every, on_whole
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None
        self._saved = time.monotonic()
        self.count, self.megabytes, self.seconds = 0, 0.0, 0.0

    @property
    def due(self) -> bool:
        """Whether the time for another has come; not while one is being written."""
        busy = self._writing is not None and not self._writing.done()
        return not busy and time.monotonic() - self._saved > self._wait

    def save(self, state: dict[str, Any], last: bool) -> None:
        """Write a state; it may change as soon as this returns, unless it is the last."""
        started = time.monotonic()
        self._finish()
        # nobody trains on after the last, so its tensors need no copy, but for parts of larger
        # ones, with which the whole would be written
        held = _copied(state, _is_part) if last else _copied(state)
        self._writing = self._thread.submit(self._write, held)
        self._saved = time.monotonic()
        self.seconds += self._saved - started

    def close(self) -> None:
        """Return when all is on disk.

        Raises:
            OSError: it could not be written.
        """
        started = time.monotonic()
        try:
            self._finish()
        finally:
            self._thread.shutdown()
        self.seconds += time.monotonic() - started

    def _finish(self) -> None:
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def _write(self, state: dict[str, Any]) -> None:
        started = time.monotonic()
        # its folder is never made here: where that is missing, nobody would look for the file
        with whole(self._path, own_partial(self._path)) as held, held.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        self.count += 1
        self.megabytes = self._path.stat().st_size / 2**20
        if self._on_whole is not None:
            self._on_whole(self._path)
        self._wait = max(self._every, 50 * (time.monotonic() - started))


def _copied(held: Any, which: Callable[[Tensor], bool] = lambda _: True) -> Any:
    """The same with tensors copied to the CPU, all or which are told."""
    if isinstance(held, Tensor):
        return held.detach().to("cpu", copy=True) if which(held) else held
    if isinstance(held, dict):
        return {key: _copied(value, which) for key, value in held.items()}
    return [_copied(value, which) for value in held] if isinstance(held, list) else held


def _is_part(tensor: Tensor) -> bool:
    return tensor.untyped_storage().nbytes() > tensor.nbytes


def state_of(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    finished: bool,
    average: Average | None = None,
    apart: bool = False,
) -> dict[str, Any]:
    """What to write: the best weights apart where they are not the last, no more than needed.

    Args:
        net: as it is trained.
        optimizer: of it.
        progress: how far it is.
        finished: whether the budget is at its end: nobody trains on from there.
        average: of its weights, where there is one.
        apart: whether what it is judged by is never just `net`: an average, or one with other
            statistics.
    """
    last = progress.best_epoch == progress.epoch and not apart
    best = None if last else progress.best_weights
    held = net.state_dict()
    return {
        "trial": json.dumps(dict(progress.trial)),
        "epoch": progress.epoch,
        "rows": list(progress.rows),
        "best_epoch": progress.best_epoch,
        "best_weights": best,
        "net": None if finished and best is not None else held,
        # nobody goes on from the end of the budget, and Adam's state is twice the weights
        "optimizer": None if finished else optimizer.state_dict(),
        **({} if average is None or finished else {"average": average.state()}),
    }


def restore(
    path: Path,
    device: str,
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    trial: Mapping[str, Any],
    average: Average | None = None,
) -> Progress:
    """Bring network, optimizer and averages to the checkpoint, if any; says how far that is.

    Another trial's is none: a driver that was lost may have drawn another config for the name. One
    from before checkpoints said what they are of is taken.

    Raises:
        DamagedCheckpoint: the file is not what was written.
    """
    for left in path.parent.glob(f"{path.name}*.partial"):
        left.unlink(missing_ok=True)  # of a process that was killed while it wrote
    if not path.is_file():
        return Progress(trial=trial)
    state = _read(path)
    if other := _differing(path, state, trial):
        return Progress(trial=trial, other=other)
    if state["net"] is not None:
        load_weights(net, state["net"])
    if state["optimizer"] is not None:
        _load_optimizer(optimizer, state["optimizer"])
    if average is not None and "average" in state:
        average.load(state["average"])
    elif average is not None:
        average.begin()
    best = state["best_weights"]
    if best is None and state["best_epoch"]:  # the last epoch was the best
        best = net.state_dict()
    if best is not None:
        best = {name: t.detach().to(device, copy=True) for name, t in best.items()}
    return Progress(state["epoch"], state["rows"], state["best_epoch"], best, trial)


def _differing(path: Path, state: Mapping[str, Any], trial: Mapping[str, Any]) -> str:
    """In what a checkpoint is of another trial, in words; "" where it is of this one.

    A setting that one of the two lacks is of another version, and `resume` has asked about that.
    """
    if "trial" not in state:
        return ""
    try:
        held = dict(json.loads(state["trial"]))
    except (TypeError, ValueError) as error:
        raise DamagedCheckpoint(
            f"{path} is no checkpoint of ours; remove it, and its epochs are trained again"
        ) from error
    keys = [key for key in held if key in trial and held[key] != trial[key]]
    return ", ".join(f"{key} {held[key]!r} there, {trial[key]!r} here" for key in keys)


def _read(path: Path) -> dict[str, Any]:
    try:
        # mapped, not read: all that stays is copied out of it
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError) as error:
        if "unable to mmap" in str(error):  # a machine that is short of something, not the file
            raise
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DamagedCheckpoint(
            f"{path} is damaged, or no checkpoint of ours, and nothing in it was run ({said}); "
            "remove it, and its epochs are trained again"
        ) from error
    if not isinstance(state, dict) or not state.keys() >= _KEYS:
        raise DamagedCheckpoint(
            f"{path} is no checkpoint of ours; remove it, and its epochs are trained again"
        )
    return state


_KEYS = {"epoch", "rows", "best_epoch", "best_weights", "net", "optimizer"}


def load_weights(net: nn.Module, held: Mapping[str, Tensor]) -> None:
    """Load weights that a network of this version held.

    A plain dict does not say so, and a layer that asks (torchvision's MNASNet) refuses it.
    """
    state = OrderedDict(held)
    state._metadata = net.state_dict()._metadata  # type: ignore[attr-defined]
    net.load_state_dict(state)


def _load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load momentum and averages; how lr is held is this process's own, not the checkpoint's."""
    if optimizer.state:  # a warm one, whose tensors a graph holds on to
        _copy_state(optimizer, state["state"])
        return
    own = [(group["lr"], group.get("capturable")) for group in optimizer.param_groups]
    optimizer.load_state_dict({**state, "state": _copied(state["state"])})
    for group, (lr, capturable) in zip(optimizer.param_groups, own, strict=True):
        group["lr"] = lr
        if capturable is not None:
            group["capturable"] = capturable


@torch.no_grad()
def _copy_state(optimizer: torch.optim.Optimizer, held: dict[int, dict[str, Any]]) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for number, parameter in enumerate(parameters):
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                value.copy_(held[number][key])
