"""`gpus_per_trial = "auto"`: how many trials share a GPU, by what one was measured to take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from search.spec.study_spec import StudySpec
from trainables import find_task
from trainables.engine.probe import Taken, probe_each

HEAD_ROOM = 0.9  # of a GPU's memory is given out
CONTEXT_MB = 600  # a process's own on a GPU: context, kernels, cuDNN's plans
# collocating small trainings gave up to 4 times the throughput (arXiv 2209.06018), not more
MOST = 4

Packing = list[dict[str, Any]]


def share(taken: Taken) -> float:
    """The share of a GPU that a trial needs, as one over a whole number of trials.

    Args:
        taken: what one trial took on that GPU.

    Returns:
        1 over the number of trials whose memory fits, at most MOST; 1 if not even one fits.
    """
    fit = int(HEAD_ROOM * taken.total_mb / (taken.peak_mb + CONTEXT_MB))
    return 1 / max(1, min(MOST, fit))


def measured(
    spec: StudySpec,
    data_dir: Path,
    on_gpu: Callable[..., list[Taken]],
    say: Callable[[str], None],
) -> Packing:
    """One row a depth, for the record: depth, device, peak_mb, total_mb, step_ms, share.

    Args:
        spec: the study; of several cells of a depth the one with the largest batch is measured.
        data_dir: where the data is, on every node.
        on_gpu: runs a function with its arguments alone on a GPU of the cluster.
        say: told of each measurement.
    """
    configs: dict[int, dict[str, Any]] = {}
    for cell in spec.cell_values():
        drawn = {key: spec.range_of(key, cell) for key in spec.space}
        largest = {k: r.values[-1] if r.values else r.high for k, r in drawn.items()}
        config = spec.config(cell, largest)  # type: ignore[arg-type]
        depth = int(config.get("depth", 0))
        if depth not in configs or config.get("batch_size", 0) > configs[depth].get(
            "batch_size", 0
        ):
            configs[depth] = config
    depths, rows = sorted(configs), []
    # in one process: to start another for each depth takes longer than to measure it
    held = [configs[depth] for depth in depths]
    found = on_gpu(probe_each, find_task(spec.task), held, data_dir, spec.seed, "cuda")
    for depth, taken in zip(depths, found, strict=True):
        part = share(taken)
        say(
            f"depth {depth}: {taken.peak_mb:,.0f} of {taken.total_mb:,.0f} MiB and "
            f"{taken.step_ms:.2f} ms a step on {taken.device}; {1 / part:.0f} trials share a GPU"
        )
        rows.append({"depth": depth, **asdict(taken), "share": part})
    return rows


def shares(packing: Packing) -> dict[int, float]:
    """Depth -> share of a GPU."""
    return {int(row["depth"]): float(row["share"]) for row in packing}
