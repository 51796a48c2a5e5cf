"""What a trial of a config takes: peak memory and time a step, by a few real steps."""

from __future__ import annotations

import gc
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainables.engine.arrays.step import InTurn, step_of
from trainables.engine.kit import Kit, eager_kit, forget, kit_for
from trainables.engine.step import resolve_precision
from trainables.task import Batch, Config, Task

STEPS = 10  # the first half warms up


@dataclass(frozen=True)
class Taken:
    """What one trial takes on a device.

    Attributes:
        device: its name.
        peak_mb: of its memory, reserved by this process on a GPU, resident on a CPU; MiB.
        total_mb: that the device has; 0 for a CPU.
        step_ms: a training step, milliseconds.
        steps: an epoch's.
        test_s: to evaluate the test split once, seconds.
    """

    device: str
    peak_mb: float
    total_mb: float
    step_ms: float
    steps: int = 0
    test_s: float = 0.0


def probe_each(
    task: Task,
    configs: Sequence[Config],
    data_dir: Path,
    split_seed: int,
    kind: str,
    most: int = STEPS,
) -> list[Taken]:
    """`probe` of several configs, one after another in this process."""
    taken = []
    for config in configs:
        taken.append(probe(task, config, data_dir, split_seed, kind, most))
        _let_go(kind)
    return taken


def probe_arrays(
    task: Task,
    config: Config,
    data_dir: Path,
    split_seed: int,
    kind: str,
    sizes: Sequence[int],
    most: int = STEPS,
) -> dict[int, Taken]:
    """`probe` of arrays of these sizes, smallest first, as far as they fit the device."""
    taken: dict[int, Taken] = {}
    for members in sizes:
        try:
            taken[members] = probe(task, config, data_dir, split_seed, kind, most, members)
        except torch.OutOfMemoryError:
            break
        finally:
            _let_go(kind)
    return taken


def _let_go(kind: str) -> None:
    forget()
    gc.collect()
    if kind == "cuda":  # what one held must not count for the next
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def probe(
    task: Task,
    config: Config,
    data_dir: Path,
    split_seed: int,
    kind: str,
    most: int = STEPS,
    members: int = 1,
) -> Taken:
    """Train a few steps from scratch and evaluate once, as a trial would, or an array of trials.

    Args:
        task: of the config.
        config: complete.
        data_dir: where the data is.
        split_seed: of the study, so that the cache is warm for its trials.
        kind: "cpu" or "cuda".
        most: steps, of which the first half warms up; two at the least.
        members: of an array that is trained as one program; its step is that of all.
    """
    ready = Ready(task, config, data_dir, split_seed, kind, members)
    config, kits, data = ready.config, ready.kits, ready.data
    kit = kits[0]
    keeps = config["checkpoint_rule"] == "best"
    best = _copied(kits) if keeps else []  # what a trial holds beside its network
    times = []
    for batch in islice(task.batches(data, config, torch.Generator().manual_seed(0)), most):
        ready.step(batch)
        times.append(time.perf_counter())
    if len(batch[0]) > 2:  # an epoch's odd last batch runs beside the captured graph
        ready.step((batch[0][:-1], batch[1][:-1]))
    test_s = _seconds_to_test(task, kit, data, config)  # the largest batches
    if keeps:
        best = _copied(kits[:1])  # the next best is there before the last one goes
    del best
    late = times[len(times) // 2 :]
    step_ms = 1e3 * (late[-1] - late[0]) / max(1, len(late) - 1)
    return Taken(*memory(kind), step_ms, task.steps(data, config), test_s)


def _seconds_to_test(task: Task, kit: Kit, data: Any, config: Config) -> float:
    kit.net.eval()
    generator = torch.Generator().manual_seed(0)
    began = time.perf_counter()
    task.evaluate(kit.net, data, "test", config, generator, False)
    return time.perf_counter() - began


class Ready:
    """What takes steps as a trial does from scratch, or an array of trials.

    Args:
        task: see `probe`.
        config: see `probe`.
        data_dir: see `probe`.
        split_seed: see `probe`.
        kind: see `probe`.
        members: see `probe`.

    Attributes:
        config: the same, its precision resolved.
        kits: the members'.
        data: the task's.
    """

    def __init__(
        self,
        task: Task,
        config: Config,
        data_dir: Path,
        split_seed: int,
        kind: str,
        members: int = 1,
    ) -> None:
        device = torch.device(kind)
        config = {**config, "precision": resolve_precision(config, device), "pretrained": False}
        self.config, self.data = config, task.open_data(data_dir, config, split_seed, device)
        make = kit_for if members == 1 else eager_kit
        nets = (task.network(config, None) for _ in range(members))
        self.kits = kits = [make(task, config, device, net) for net in nets]
        self._step = InTurn(kits) if members == 1 else step_of(kits, config, device, join=True)
        self._step.begin(range(members))
        for kit in kits:
            kit.net.train()

    def step(self, batch: Batch) -> None:
        """Take one step of each member, and wait for the device."""
        self._step([batch] * len(self.kits))
        for kit in self.kits:
            kit.step.take()


def memory(kind: str) -> tuple[str, float, float]:
    """Name of the device, this process's peak of its memory and all that it has; see Taken."""
    if kind == "cuda":
        peak, total = torch.cuda.max_memory_reserved(), torch.cuda.mem_get_info()[1]
        return torch.cuda.get_device_name(), peak / 2**20, total / 2**20
    return "cpu", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 0.0


def _copied(kits: Sequence[Kit]) -> list[Tensor]:
    return [held.detach().clone() for kit in kits for held in kit.net.state_dict().values()]
