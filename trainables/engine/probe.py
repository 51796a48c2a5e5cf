"""What a trial of a config takes: peak memory and time a step, by a few real steps."""

from __future__ import annotations

import gc
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from trainables.engine.arrays.step import InTurn, step_of
from trainables.engine.kit import Kit, eager_kit, forget, kit_for
from trainables.engine.step import resolve_precision
from trainables.task import Config, Task

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
    device = torch.device(kind)
    config = {**config, "precision": resolve_precision(config, device), "pretrained": False}
    data = task.open_data(data_dir, config, split_seed, device)
    make = kit_for if members == 1 else eager_kit
    kits = [make(task, config, device, task.network(config, None)) for _ in range(members)]
    kit = kits[0]
    step = InTurn(kits) if members == 1 else step_of(kits, config, device, join=True)
    step.begin(range(members))
    for each in kits:
        each.net.train()
    keeps = config["checkpoint_rule"] == "best"
    best = _copied(kits) if keeps else []  # what a trial holds beside its network
    times = []
    for batch in islice(task.batches(data, config, torch.Generator().manual_seed(0)), most):
        step([batch] * members)
        for each in kits:
            each.step.take()  # waits for the device
        times.append(time.perf_counter())
    if len(batch[0]) > 2:  # an epoch's odd last batch runs beside the captured graph
        step([(batch[0][:-1], batch[1][:-1])] * members)
    kit.net.eval()
    generator = torch.Generator().manual_seed(0)
    began = time.perf_counter()
    task.evaluate(kit.net, data, "test", config, generator, False)  # the largest batches
    test_s = time.perf_counter() - began
    if keeps:
        best = _copied(kits[:1])  # the next best is there before the last one goes
    del best
    late = times[len(times) // 2 :]
    step_ms = 1e3 * (late[-1] - late[0]) / max(1, len(late) - 1)
    if kind == "cuda":
        peak, total = torch.cuda.max_memory_reserved(), torch.cuda.mem_get_info()[1]
        held = (torch.cuda.get_device_name(), peak / 2**20, total / 2**20)
    else:
        held = ("cpu", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 0.0)
    return Taken(*held, step_ms, task.steps(data, config), test_s)


def _copied(kits: Sequence[Kit]) -> list[Tensor]:
    return [held.detach().clone() for kit in kits for held in kit.net.state_dict().values()]
