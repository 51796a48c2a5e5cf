"""In which way trials of a shape get most done on a GPU: one by one, side by side, as an array.

Each way is measured by a few real steps. Trials side by side are processes, and are measured where
an MPS daemon lets their kernels overlap; without one they take turns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from search.run.device import mps_active
from search.spec.study_spec import StudySpec
from trainables import find_task
from trainables.engine.pack import PackError, probe_pack
from trainables.engine.probe import Taken, probe_arrays
from trainables.own_code import import_from
from trainables.task import Config, Task

HEAD_ROOM = 0.9  # of a GPU's memory is given out
CONTEXT_MB = 600  # a process's own on a GPU: context, kernels, cuDNN's plans
# collocating small trainings gave up to 4 times the throughput (arXiv 2209.06018), not more
MOST = 4

MOST_ASKED = 8  # where a study's own share makes it more, that many are
ARRAYS = (2, 4, 8, 16)
ALONE = "one trial takes a GPU"
NO_MPS = "no MPS daemon there: trials that share a GPU take turns"


def share(taken: Taken) -> float:
    """The share of a GPU that a trial needs, as one over a whole number of trials.

    Args:
        taken: what one trial took on that GPU.

    Returns:
        1 over the number of trials whose memory fits, at most MOST; 1 if not even one fits.
    """
    fit = int(HEAD_ROOM * taken.total_mb / (taken.peak_mb + CONTEXT_MB))
    return 1 / max(1, min(MOST, fit))


def measured_ways(
    spec: StudySpec,
    config: Config,
    taken: Taken,
    asked: float | None,
    on_gpu: Callable[..., Any],
    data_dir: Path,
    task_dir: str,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Measure packs and arrays of a shape, and choose.

    Args:
        spec: the study.
        config: the largest of the shape.
        taken: of one trial.
        asked: the share of a GPU that the study asks for; None where it is measured.
        on_gpu: see `packing.measured`.
        data_dir: see there.
        task_dir: see there.
        say: told of each measurement.

    Returns:
        For the record: `packs` and `arrays`, what was taken by size; `no_packs`, why none was
        measured, or no larger one; `share` that a trial gets and `array`, the trials that are
        trained as one.
    """
    told = (spec.task, config, data_dir, spec.seed, "cuda", task_dir)
    part = share(taken) if asked is None else asked
    # there, not where the driver is
    packs, why = _packs(sizes_of(part, asked is not None), on_gpu, told, _threads(spec))
    if asked is None and packs:
        part = 1 / best_pack(taken, packs)
    arrays: dict[int, Taken] = on_gpu(probe_task_arrays, *told)
    array = fastest(taken, part, packs, arrays)
    side = ", ".join(f"{size} in {one.step_ms:.2f} ms" for size, one in packs.items())
    gain = f"; {1 / part:.0f} trials share a GPU" if asked is None and packs else ""
    say(f"steps side by side: {side or 'not measured'}{f' ({why})' if why else ''}{gain}")
    joined = ", ".join(f"{size} in {one.step_ms:.2f} ms" for size, one in arrays.items())
    say(f"steps of arrays: {joined or 'none fits'}; {array} trained as one")
    row = {"packs": _by_size(packs), "no_packs": why, "arrays": _by_size(arrays), "array": array}
    return row if asked is not None else {**row, "share": part}


def _by_size(found: Mapping[int, Taken]) -> dict[str, Any]:
    return {str(size): asdict(one) for size, one in found.items()}


def _threads(spec: StudySpec) -> int:
    return max(1, int(spec.resources.cpus_per_trial))


def sizes_of(part: float, asked: bool) -> list[int]:
    """How many trials side by side are to be measured, where one has such a share of a GPU."""
    fit = min(_at_once(part), MOST_ASKED)
    if fit == 1:
        return []
    return [fit] if asked else sorted({2, fit})


def _at_once(part: float) -> int:
    """How many trials of such a share a GPU holds."""
    return max(1, int(1 / part + 1e-9)) if part else 1


def why_no_packs(kind: str, mps: bool) -> str:
    """Why trials side by side are not measured on a device; "" where they are."""
    if kind != "cuda":
        return "processes share the cores of a CPU"
    return "" if mps else NO_MPS


def _packs(
    sizes: Sequence[int], on_gpu: Callable[..., Any], told: tuple[Any, ...], threads: int
) -> tuple[dict[int, Taken], str]:
    """Packs of these sizes, smallest first, as far as they work; and why not further."""
    if not sizes:
        return {}, ALONE
    if why := why_no_packs(told[4], bool(on_gpu(mps_active))):
        return {}, why
    found: dict[int, Taken] = {}
    for size in sizes:
        try:
            found[size] = on_gpu(probe_task_pack, *told, size, threads)
        except PackError as error:
            return found, f"{size}: {error}"
    return found, ""


def best_pack(single: Taken, packs: Mapping[int, Taken]) -> int:
    """How many trials side by side get most done; 1 where packing gains nothing."""
    rates = {1: 1 / single.step_ms, **{n: n / one.step_ms for n, one in packs.items()}}
    return max(rates, key=rates.__getitem__)


def fastest(
    single: Taken, part: float, packs: Mapping[int, Taken], arrays: Mapping[int, Taken]
) -> int:
    """How many trials are best trained as one, by what a few steps took.

    Args:
        single: of one trial.
        part: its share of the GPU, as it will have it.
        packs: of trials side by side, by their number; their step is that of each.
        arrays: of arrays, by size; their step is that of all.

    Returns:
        The size of the fastest array that fits the shares of its members; 1 where none does more
        than trials as they would be beside one another at that share, where that was measured, or
        than one.
    """
    beside = max((size for size in packs if size <= _at_once(part)), default=1)
    most = beside / packs[beside].step_ms if beside > 1 else 1 / single.step_ms
    rates = {
        size / taken.step_ms: size
        for size, taken in arrays.items()
        if taken.peak_mb + CONTEXT_MB <= HEAD_ROOM * taken.total_mb * min(1.0, part * size)
    }
    best = max(rates, default=0.0)
    return rates[best] if best > most else 1


def task_named(name: str, task_dir: str) -> Task:
    """A task by its name: in another process it is imported, as a worker does."""
    if task_dir:
        import_from(task_dir)
    return find_task(name)


def probe_task_arrays(
    name: str, config: Config, data_dir: Path, split_seed: int, kind: str, task_dir: str
) -> dict[int, Taken]:
    """`probe_arrays` of a task by its name."""
    return probe_arrays(task_named(name, task_dir), config, data_dir, split_seed, kind, ARRAYS)


def probe_task_pack(
    name: str,
    config: Config,
    data_dir: Path,
    split_seed: int,
    kind: str,
    task_dir: str,
    trials: int,
    threads: int,
) -> Taken:
    """`probe_pack` of a task by its name."""
    opened = partial(task_named, name, task_dir)
    return probe_pack(opened, config, data_dir, split_seed, kind, trials, threads=threads)
