"""Trials side by side, as real processes on the CPU."""

from __future__ import annotations

import multiprocessing
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from trainables import find_task
from trainables.engine import pack
from trainables.engine.pack import PackError, probe_pack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def tiny(complete: Any, **changed: Any) -> dict[str, Any]:
    small = {"train_images": 24, "val_images": 8, "test_images": 8, "batch_size": 8}
    return complete("cifar10", edition="synthetic", depth=18, lr=0.1, **small, **changed)


def test_trials_side_by_side_take_the_same_steps_at_the_same_time(tmp_path, complete, monkeypatch):
    """Each pace is of steps that both were there for, and the pack's is their sum."""
    told: list[tuple[float, Any]] = []
    hear = pack._told

    def heard(*held: Any) -> Any:
        told.append(hear(*held))
        # not before each has told is any process over: the others still have its load
        assert len(multiprocessing.active_children()) == 2
        return told[-1]

    monkeypatch.setattr(pack, "_told", heard)
    taken = probe_pack(
        partial(find_task, "cifar10"), tiny(complete), tmp_path, 0, "cpu", 2, most=4
    )
    paces = [1 / seconds for seconds, _ in told]
    assert len(paces) == 2 and min(paces) > 0
    assert taken.step_ms == pytest.approx(2e3 / sum(paces))
    assert (taken.device, taken.total_mb) == ("cpu", 0.0)
    assert taken.peak_mb > 100
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("kill", "told"),
    [(False, "RuntimeError: the first of them"), (True, "a process of the pack ended with -9")],
)
def test_what_ends_one_process_ends_the_others_and_is_told(tmp_path, complete, kill, told):
    """The others wait at the barrier by then, or come to it: theirs is not the error."""
    opened = partial(first_ends, str(tmp_path / "first"), kill)
    with pytest.raises(PackError, match=told):
        probe_pack(opened, tiny(complete), tmp_path, 0, "cpu", 2, most=2)
    assert not multiprocessing.active_children()


def first_ends(marker: str, kill: bool) -> Any:
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return find_task("cifar10")
    if kill:
        os.kill(os.getpid(), signal.SIGKILL)
    raise RuntimeError("the first of them")


def test_processes_go_round_a_short_epoch_by_batches_of_one_size(tmp_path, complete):
    """Twenty images by eight: the odd last batch of four is left out."""
    task = find_task("cifar10")
    ready = pack.Ready(task, tiny(complete) | {"train_images": 20}, Path(tmp_path), 0, "cpu")
    batches = pack._batches(task, ready)
    assert [len(next(batches)[0]) for _ in range(5)] == [8] * 5
