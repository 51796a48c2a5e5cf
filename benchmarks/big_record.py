"""A record of a large study, written by the record's own code from curves that are drawn.

    python benchmarks/big_record.py FOLDER [--trials 10000] [--epochs 200]

Ten cells, every config trained in full, sixteen jobs at once, then two seeds a cell that are
scored on test, with predictions of an image. An epoch has seven numbers, as one of CIFAR-10 has.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from studies import begun

from search.record.run_folder import RunFolder
from search.run.study import Study
from search.run.worker import WorkerJob

CELLS, SEEDS, AT_ONCE, IMAGES = 10, (1, 2), 16, 1000
TEXT = """
name = "big"
task = "cifar10"
scheduler = "none"
[cells]
depth = [18, 34, 50, 101, 152]
pretrained = [false, true]
[space.lr]
low = 0.01
high = 0.1
log = true
[fixed]
edition = "synthetic"
[budget]
trials_per_cell = {trials}
max_epochs = {epochs}
grace_epochs = 1
audit_share = 0.0
[confirm]
seeds = {seeds}
"""
HERE = {"versions": {"python": "3.12"}, "git": None, "machine": {"processor": "drawn"}}


class Silent:
    """A watcher that looks away."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        """Every hook of a watcher, doing nothing."""
        return lambda *args: None


def make(folder: Path, trials: int, epochs: int) -> None:
    """Write the record of so many trials, but for its frames.

    Args:
        folder: a new run folder.
        trials: of the search, a tenth of them in each cell.
        epochs: of each.
    """
    text = TEXT.format(trials=trials // CELLS, epochs=epochs, seeds=list(SEEDS))
    with RunFolder.make(folder) as run:
        study = begun(run, text, Silent(), images=(50_000, IMAGES), here=HERE)
        _drive(study, run, epochs)


def _drive(study: Study, run: RunFolder, epochs: int) -> None:
    """Every job of a study, sixteen at once, an epoch of each in turn."""
    rng = np.random.default_rng(0)
    out: dict[str, tuple[WorkerJob, int, np.ndarray]] = {}
    while True:
        while len(out) < AT_ONCE and (job := study.ask()) is not None:
            out[job.trial] = (job, 1, _curves(rng, epochs))
        if not out:
            return
        for trial, (job, epoch, curves) in list(out.items()):
            run.append_epoch(trial, dict(zip(NAMES, (epoch, *curves[epoch - 1]), strict=True)))
            out[trial] = (job, epoch + 1, curves)
            if epoch == epochs:
                study.tell(trial, _told(rng, run.path, job, curves))
                del out[trial]


NAMES = (
    *("epoch", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy"),
    *("train_seconds", "seconds"),
)


def _curves(rng: np.random.Generator, epochs: int) -> list[list[float]]:
    """`(epochs, 7)`: what an epoch reports but for its number."""
    at = np.arange(1, epochs + 1)
    end, pace = rng.uniform(0.3, 0.9), rng.uniform(2, 20)
    accuracy = 0.1 + (end - 0.1) * (1 - np.exp(-at / pace))
    train, val = (np.clip(accuracy + rng.normal(0, 0.01, epochs), 0, 1) for _ in range(2))
    lr = rng.uniform(0.01, 0.1) * (1 + np.cos(np.pi * at / epochs)) / 2
    seconds = rng.uniform(10, 11, epochs)
    rows = (lr, 3 * (1 - train), train, 3 * (1 - val), val, seconds, seconds * 1.07)
    return np.stack(rows, axis=1).tolist()


def _told(
    rng: np.random.Generator, folder: Path, job: WorkerJob, curves: list[list[float]]
) -> dict[str, object]:
    """How a job ended, as its worker says it; predictions are left where it would leave them."""
    values = [row[4] for row in curves]
    at = int(np.argmax(values))
    told: dict[str, object] = {
        "ending": "value", "value": values[at], "value_epoch": at + 1, "epoch": len(values),
        "parameters": 11_181_642, "precision": "tf32", "step": "graph", "checkpoints": 12,
        "checkpoint_mb": 58.9, "seconds": sum(row[6] for row in curves), "gpu_seconds": 500.0,
        "peak_mb": 2048.0, "node": "node-1", "device": "some GPU", "code": "0" * 16,
    }  # fmt: skip
    if not job.train["score_test"]:
        return told
    truth = np.arange(IMAGES) % 10  # of all trials the same images
    prediction = np.where(rng.random(IMAGES) < values[at], truth, (truth + 1) % 10)
    frame = pd.DataFrame(
        {"trial": job.trial, "image": np.arange(IMAGES).astype(str), "truth": truth}
    )
    frame.assign(prediction=prediction).to_parquet(folder / "parts" / f"{job.trial}.parquet")
    scores = {"loss": 1.0, "accuracy": float((truth == prediction).mean())}
    chance = {"uniform guess": {"loss": 2.302585, "accuracy": 0.1}}
    return {**told, "test": scores, "baselines": chance, "collapsed": False}


def main() -> None:
    """Write one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=200)
    held = parser.parse_args()
    make(held.folder, held.trials, held.epochs)


if __name__ == "__main__":
    main()
