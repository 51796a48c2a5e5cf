"""The record of a study: what is in a run folder, how it is read, how its frames are made.

Loads neither ray nor torch; pandas and pyarrow only. A run folder `runs/<study>/` holds

    study.json       what was asked for, of what data, with which versions; see `Study`
    decisions.jsonl  the journal: every ask, tell and decision as it happened; see `journal`
    optuna.log       the search as Optuna studies, one a cell: optuna-dashboard optuna.log
    epochs.jsonl     one line an epoch and trial, as reported; the later line of a pair counts
    trials.parquet   one row a trial; columns below
    curves.parquet   one row a trial, epoch and quantity
    per_image.parquet one row a test image of each trial scored on test
    csv/             the three frames as csv
    samples/         <trial>.npz: images with true and predicted maps, where a task makes them
    checkpoints/     of trials that may go on; removed when their cell is decided
    stalls/          where workers stood that made no step for too long

A study with a `store` has these there too, each as an object `<name>/<time>-<sha256>-<bytes>`,
the logs in segments; `resnet-search fetch` brings them to a folder.

The parquet files are a function of the two logs, written again while the study runs; `load` makes
them from the logs where those have grown since, so nothing is lost with a killed driver.

trials.parquet
    study        name of the study
    task         key of TASKS, or `module:ATTRIBUTE` of the user's own
    trial        name, unique in the study: cell number, then config number or seed
    stage        search, confirm (a cell's winner again, at another seed), or audit (of the search,
                 ended at a rung and trained on to see whether that was right; never selected)
    cell         number of the cell, from 0
    <cell keys>  value of each cell parameter, e.g. depth, pretrained
    <space keys> value of each searched parameter, e.g. lr; both are setting_<key> where the key is
                 the name of another column, e.g. setting_precision: see trial_column
    config       JSON of the settings that differ from the task's defaults
    seed         of initial weights, order and augmentation
    status       completed (trained to its full budget), stopped (ended at a rung), paused (waits
                 at a rung), running, diverged, failed
    reason       why it ended, in words
    epochs       epochs trained, as told or reported
    budget       epochs of a full training
    rule         checkpoint rule: best or last
    metric       metric of `value`, with its split, e.g. val_accuracy
    value        that metric by the rule, at the last rung reached
    value_epoch  epoch that `value` is of
    best, last   the same metric: best over the epochs, and at the last epoch
    last_<m>     every metric of the last epoch, e.g. last_val_loss
    value_<m>    every metric of value_epoch, e.g. value_val_loss: one checkpoint for a whole row
    test_<m>     scores on test at the checkpoint of `value`; empty unless scored
    collapsed    predictions barely differ between images; empty unless scored
    baselines    JSON: scores of constant predictors on the same test images; empty unless scored
    parameters   trainable parameters
    seconds      on a worker, evaluation included, of jobs that ended
    lost_seconds of epochs that an interruption made to be trained again, repeated_epochs of them
    gpu_seconds  seconds times the share of a GPU
    peak_mb      peak memory of the worker (GPU memory on a GPU), MiB
    precision    of arithmetic: fp32, tf32 or bf16
    step         eager, or graph: the step ran as a captured CUDA graph
    checkpoints  written; the last one of checkpoint_mb, MiB
    jobs         stays on a worker; attempts counts those that failed
    attempts     failed jobs
    node, device where it ran last
    error        last lines of the traceback of the last failure

curves.parquet
    study, trial, epoch (from 1), name (e.g. val_accuracy, train_loss, lr, seconds), value

per_image.parquet
    study, trial, split, image (name), truth, prediction (a class, or a head count)

Units: accuracy is a fraction; mae and rmse are people an image, rmse the root of the mean squared
error; seconds are seconds.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from search.record.frames import curves_frame, latest_rows, repeats, trials_frame
from search.record.journal import JournalError, read_journal, read_lines
from search.record.terminal import shell
from search.record.uris import as_uri, is_uri
from trainables.about import SHIPPED, plain
from trainables.errors import UserError
from trainables.files import whole

FORMAT = 1
JOURNAL, EPOCHS, STUDY = "decisions.jsonl", "epochs.jsonl", "study.json"
NEEDED = {  # key of study.json -> type
    **dict.fromkeys(("name", "task", "metric", "mode"), str),
    **dict.fromkeys(("cells", "rungs", "data", "sessions"), list),
    "spec": dict,
}
LOCK = ".lock"  # held by the driver that writes the folder
STAMP = "frames.json"  # says how much of the logs the parquet files hold


class RecordError(UserError):
    """A run folder is missing or damaged; the message names file and fix."""


@dataclass(frozen=True)
class Record:
    """A study as recorded.

    Attributes:
        run: its folder.
        study: study.json: `run_id` (of this run of it, by which nodes know its folder), `store`
            (URI that it is handed in to, where it has one), `name`, `task`, `metric`, `mode`,
            `protocol`, `synthetic`, `spec` (the whole study file, parsed), `text` (as written),
            `overrides`, `cells` (values in order), `settings` (all that hold in every cell,
            defaults included), `rungs`, `data` (fingerprints), `questions` (settings that were
            asked about before the first trial, by key: search.spec.questions), `about` (what the
            task says of itself: trainables.about), `weights`,
            `task_code` (file and sha256: of the user's own task each of its modules, which
            `resume` compares, of ours one digest of trainables), `task_dir` (where the user's own
            is imported from), `versions`, `git`, `machine`, `sessions`, and, where GPU shares were
            measured, `packing` (a row a shape of trial and GPU: search.run.packing).
        trials: see the module.
        curves: see the module.
        per_image: see the module.
        decisions: one row a decision: time, trial, cell, epoch, value, rank, n, goes_on (how many
            of the n may go on; only of a complete rung), verdict, rule.
    """

    run: Path
    study: dict[str, Any]
    trials: pd.DataFrame
    curves: pd.DataFrame
    per_image: pd.DataFrame
    decisions: pd.DataFrame


def load(run: Path | str) -> Record:
    """Read a run folder.

    Raises:
        RecordError: it is not one, or a file in it is damaged.
    """
    folder = Path(run)
    study = load_study(folder)
    sizes = _sizes(folder)  # what is written from here on is left out, in every frame alike
    events = read_events(folder, sizes.get(JOURNAL))
    frames = _frames_of(folder, sizes)
    if frames is None:
        frames = build(study, events, read_epochs(folder, sizes.get(EPOCHS)))
    trials, curves = frames
    decisions = pd.DataFrame([e for e in events if e["event"] == "decision"], columns=DECISION)
    return Record(folder, study, trials, curves, _per_image(folder, study), decisions)


def _frames_of(folder: Path, sizes: dict[str, int]) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """The trials and curves frames as written, where they hold just so much of the logs."""
    paths = [folder / f"{name}.parquet" for name in ("trials", "curves")]
    if _stamp(folder) != sizes or not all(path.is_file() for path in paths):
        return None
    trials, curves = (_read_parquet(path) for path in paths)
    # a running study may have replaced them between the two looks
    return (trials, curves) if _stamp(folder) == sizes else None


DECISION = ["time", "trial", "cell", "epoch", "value", "rank", "n", "goes_on", "verdict", "rule"]


def read_events(folder: Path, size: int | None = None) -> list[dict[str, Any]]:
    """The journal of a run folder, which must be there once epochs have been trained.

    Args:
        folder: the run folder.
        size: read so many bytes of it; None for all.

    Raises:
        JournalError: it is missing, damaged, or empty though epochs were trained.
    """
    path, epochs = folder / JOURNAL, folder / EPOCHS
    events = read_journal(path, size)
    if not events and epochs.is_file() and epochs.stat().st_size:
        raise JournalError(
            f"{path} is missing or holds nothing, though {EPOCHS} says that epochs were trained; "
            "restore it from a copy. Without it nothing is known of what was finished"
        )
    return events


def read_epochs(folder: Path, size: int | None = None) -> list[dict[str, Any]]:
    """Every line of a run folder's log of epochs.

    Args:
        folder: the run folder.
        size: read so many bytes of it; None for all.

    Raises:
        JournalError: a line is damaged.
    """
    lines = read_lines(folder / EPOCHS, size)
    for number, line in enumerate(lines, 1):
        row = line.get("row") if isinstance(line, dict) else None
        if not (
            isinstance(line, dict)
            and isinstance(line.get("trial"), str)
            and isinstance(row, dict)
            and isinstance(row.get("epoch"), int)
            and all(isinstance(value, float | int | None) for value in row.values())
        ):
            raise JournalError(
                f"{folder / EPOCHS}, line {number} is no trial's epoch; restore the file from a "
                "copy, or cut it before this line: what follows is then run again"
            )
    return lines


def load_study(folder: Path) -> dict[str, Any]:
    """study.json of a run folder.

    Raises:
        RecordError: not there, or not readable.
    """
    path = folder / STUDY
    try:
        study: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        if is_uri(folder):
            fetch = shell("resnet-search", "fetch", as_uri(folder))
            raise RecordError(
                f"{as_uri(folder)} is a URI; `{fetch}` brings it to a folder"
            ) from None
        raise RecordError(
            f"{folder} is no run folder: it has no {STUDY}. Name the folder that "
            "`resnet-search run` printed, e.g. runs/quickstart-cifar10"
        ) from None
    except (ValueError, RecursionError, IsADirectoryError) as error:
        raise RecordError(f"{path} is damaged ({error}); restore it from a copy") from error
    held = study.get("format") if isinstance(study, dict) else None
    if held != FORMAT:
        raise RecordError(
            f"{path} has format {held!r}, this version reads {FORMAT}; restore the file from a "
            "copy, or read it with the version that wrote it"
        )
    if lacking := [key for key in NEEDED if key not in study]:
        raise RecordError(f"{path} lacks {', '.join(lacking)}; restore it from a copy")
    if wrong := [key for key, kind in NEEDED.items() if not isinstance(study[key], kind)]:
        raise RecordError(
            f"{path} is damaged: {', '.join(wrong)} is of the wrong type; restore it from a copy"
        )
    if "about" not in study:  # of a record from before tasks said this of themselves
        metrics = tuple(study.get("metrics", [study["metric"]]))
        study["about"] = SHIPPED.get(study["task"]) or plain(
            study["task"], study["metric"], study["mode"], metrics
        )
    return study


def build(
    study: dict[str, Any], events: list[dict[str, Any]], epochs: list[dict[str, Any]]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The trials and curves frames that the two logs say."""
    latest = latest_rows(epochs)
    trials = trials_frame(study, events, latest, repeats(epochs))
    return trials, curves_frame(study["name"], latest)


def write(folder: Path) -> None:
    """Write the parquet and csv files from the logs, each whole or not at all."""
    study = load_study(folder)
    sizes = _sizes(folder)
    events = read_journal(folder / JOURNAL, sizes.get(JOURNAL))
    trials, curves = build(study, events, read_epochs(folder, sizes.get(EPOCHS)))
    frames = {"trials": trials, "curves": curves, "per_image": _per_image(folder, study)}
    (folder / "csv").mkdir(exist_ok=True)
    (folder / STAMP).unlink(missing_ok=True)  # while they are replaced they are of no one state
    for name, frame in frames.items():
        for path, save in (
            (folder / f"{name}.parquet", frame.to_parquet),
            (folder / "csv" / f"{name}.csv", frame.to_csv),
        ):
            with whole(path) as partial, partial.open("wb") as file:
                save(file, index=False)
    with whole(folder / STAMP) as partial:
        partial.write_text(json.dumps(sizes), encoding="utf-8")


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of the logs, which only grow."""
    logs = (folder / JOURNAL, folder / EPOCHS)
    return {path.name: path.stat().st_size for path in logs if path.is_file()}


def _stamp(folder: Path) -> Any:
    """Bytes of the logs that the frames were made from; None if that is not known."""
    try:
        return json.loads((folder / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise RecordError(
            f"{path} is damaged ({error}); delete it, it is made again from the logs"
        ) from error


def _per_image(folder: Path, study: dict[str, Any]) -> pd.DataFrame:
    """All parts that workers have written, one file a trial.

    Rows that only the frame itself holds stay: a record may have come here without its parts.
    """
    columns = ["study", "trial", "split", "image", "truth", "prediction"]
    parts = sorted((folder / "parts").glob("*.parquet"))
    frames = [_read_parquet(p).assign(trial=p.stem) for p in parts]
    path = folder / "per_image.parquet"
    if path.is_file():
        try:
            before = _read_parquet(path)
        except RecordError as error:
            raise RecordError(
                f"{path} is damaged ({error}); delete it to go on without the predictions of "
                "trials that have no file in parts/"
            ) from error
        frames.append(before[~before["trial"].isin([p.stem for p in parts])])
    frames = [frame for frame in frames if len(frame)]
    if not frames:
        return pd.DataFrame(columns=columns)
    held = pd.concat(frames, ignore_index=True).sort_values("trial", kind="stable")
    return held.assign(study=study["name"], split="test")[columns].reset_index(drop=True)
