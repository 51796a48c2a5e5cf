"""The record of a study: what is in a run folder, how it is read, how its frames are made.

Loads neither ray nor torch. A run folder `runs/<study>/` holds

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
    tensorboard/, mlflow.db, wandb/ what [log] writes there for other tools; no part of the record
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
    collapsed    predictions barely differ between images: of test where scored, else on the split
                 that is watched where it last stood; empty where the task does not say
    baselines    JSON: scores of constant predictors on the same test images; empty unless scored
    parameters   trainable parameters
    seconds      on a worker, evaluation included, of jobs that ended
    lost_seconds of epochs that an interruption made to be trained again, repeated_epochs of them
    gpu_seconds  seconds times the share of a GPU
    peak_mb      peak memory of the worker (GPU memory on a GPU), MiB
    precision    of arithmetic: fp32, tf32 or bf16
    step         eager, or graph: the step ran as a captured CUDA graph; "array of N" behind it
                 where N trials took it together
    checkpoints  written; the last one of checkpoint_mb, MiB
    jobs         stays on a worker; attempts counts those that failed
    attempts     failed jobs
    losses       jobs that were lost to a node, a process or a network, and went on
    node, device where it ran last
    code         digest of this package's code there
    error        last lines of the traceback of the last failure

curves.parquet
    study, trial, epoch (from 1), name (e.g. val_accuracy, train_loss, lr, seconds), value

per_image.parquet
    study, trial, split, image (name), truth, prediction (a class, or a head count)

Units: accuracy is a fraction; mae and rmse are people an image, rmse the root of the mean squared
error; seconds are seconds.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property, partial
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from search.record.beside import (
    check_size,
    check_trials,
    frame_notes,
    image_notes,
    lost_images,
    notes_on,
    score_notes,
    study_notes,
    traces,
)
from search.record.columns import setting_columns, trial_columns
from search.record.digest import digest_of
from search.record.epoch_log import check_rows, whole_epochs
from search.record.epoch_table import Epochs, repeats
from search.record.frame_files import Frames, frames_of
from search.record.frames import curves_frame, trials_frame
from search.record.growth import grown_frames
from search.record.journal import JournalError, fault_in, read_journal, read_lines
from search.record.misfit import misfit
from search.record.mixed import Mixed, mixtures
from search.record.naming import cell_label
from search.record.predictions import per_image
from search.record.stored import (
    EPOCHS,
    JOURNAL,
    PARQUET,
    changed_files,
    logs_begin_so,
    sizes_in,
    sizes_of,
    stamp_of,
    tells_of_logs,
)
from search.record.study_file import load_study
from trainables.errors import RecordWarning

LOCK = ".lock"  # held by the driver that writes the folder


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
            is imported from), `versions`, `code` (digest of this package's), `git`, `machine`,
            `sessions` (each with what it ran with, and `accepted`: what had changed before it and
            was taken all the same), and, where GPU shares were measured, `packing` (a row a shape
            of trial and GPU: search.run.packing).
        trials: see the module.
        curves: see the module; read when first asked for, as it was when the rest was read.
        per_image: see the module.
        decisions: one row a decision: time, trial, cell, epoch, value, rank, n, goes_on (how many
            of the n may go on; only of a complete rung), verdict, rule.
        notes: what is damaged in it and could be passed over, a sentence each.
        mixed: what of it was computed with more than one code, set of versions or settings.
        sizes: bytes that were read of its logs, by name.
    """

    run: Path
    study: dict[str, Any]
    trials: pd.DataFrame
    per_image: pd.DataFrame
    decisions: pd.DataFrame
    notes: tuple[str, ...] = ()
    mixed: Mixed = field(default_factory=Mixed)
    sizes: Mapping[str, int] = field(default_factory=dict)
    _: KW_ONLY
    _curves: Callable[[], pd.DataFrame] = field(repr=False)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """One row a trial, epoch and quantity."""
        return self._curves()

    def __repr__(self) -> str:
        """What it is; its frames would fill pages."""
        counts = f"{len(self.study['cells'])} cells, {len(self.trials)} trials"
        return f"Record of study {self.study['name']} ({self.run}): {counts}"

    def _repr_html_(self) -> str:
        """As a notebook shows it: how many trials of each cell stand how."""
        cells = [cell_label(at) or "all" for at in self.study["cells"]]
        labels = self.trials["cell"].map(dict(enumerate(cells))).rename("cell")
        states = pd.crosstab(labels, [self.trials["stage"], self.trials["status"]])
        told = [f"study {self.study['name']} ({self.run})", *self.notes]
        notes = "".join(f"<p>{escape(text)}</p>" for text in told)
        return f"{notes}{states.reindex(cells).dropna(how='all').to_html()}"

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what it was read from; see search.record.digest."""
        return digest_of(self.run, self.sizes, self.per_image)


def load(run: Path | str) -> Record:
    """Read a run folder.

    Raises:
        RecordError: it is not one, or a file in it is damaged.

    Warns:
        RecordWarning: of each of the record's `notes`.
    """
    held, _ = loaded(Path(run))
    for note in held.notes:
        warnings.warn(f"{held.run}: {note}", RecordWarning, stacklevel=2)
    return held


def loaded(folder: Path) -> tuple[Record, list[dict[str, Any]]]:
    """The record of a run folder, and the events of its journal; no warning is given.

    Raises:
        RecordError, JournalError: see `load`.
    """
    study = load_study(folder)
    sizes = sizes_of(folder)  # what is written from here on is left out, in every frame alike
    events = read_events(folder, sizes.get(JOURNAL), study)
    asked = {e["job"]["trial"] for e in events if e["event"] == "ask"}
    found = grown_frames(folder, study, events, sizes)
    images = per_image(folder, study["name"])
    curves: Callable[[], pd.DataFrame]
    if found and set(found[0]["trial"]) == asked:  # the rest is of logs without damage: `write`
        trials, curves, rows = found
        notes = notes_on(folder, events, rows, images)
    else:
        before = earlier_frames(folder, study, sizes)
        trials, made, rows, notes = frames_made(folder, study, events, sizes, before)
        notes += _denied(folder, trials, made, images, sizes)
        notes += notes_on(folder, events, rows, images)
        curves = partial(_itself, made)
    notes += [*score_notes(study, events, images), *study_notes(folder)]
    notes += lost_images(folder, images)
    return _record(folder, study, events, (trials, curves, images), notes, sizes), events


def _itself(frame: pd.DataFrame) -> pd.DataFrame:
    return frame


def _denied(
    folder: Path,
    trials: pd.DataFrame,
    curves: pd.DataFrame,
    images: pd.DataFrame,
    sizes: Mapping[str, int],
) -> list[str]:
    """What is to be said of frames that are not as they were written, by those of the logs."""
    if (stamp := stamp_of(folder)) is None or not tells_of_logs(stamp):
        return []
    changed = changed_files(folder, stamp, PARQUET)
    exact = sizes_in(stamp) == sizes
    notes = image_notes(folder, images, changed)
    if changed or "frames" not in stamp:
        notes += frame_notes(folder, {"trials": trials, "curves": curves}, changed, exact)
    return notes if stamp_of(folder) == stamp else []


def read_from_logs(folder: Path, sizes: Mapping[str, int]) -> tuple[Record, list[dict[str, Any]]]:
    """The record as so many bytes of its logs give it, whatever its frames say, and its events.

    Its notes are of the logs alone.

    Raises:
        RecordError, JournalError: see `load`.
    """
    study = load_study(folder)
    events = read_events(folder, sizes.get(JOURNAL), study)
    trials, curves, rows, notes = frames_made(folder, study, events, sizes, None)
    images = per_image(folder, study["name"])
    notes += [*notes_on(folder, events, rows, images), *study_notes(folder)]
    held = (trials, partial(_itself, curves), images)
    return _record(folder, study, events, held, notes, sizes), events


def _record(
    folder: Path,
    study: dict[str, Any],
    events: list[dict[str, Any]],
    frames: tuple[pd.DataFrame, Callable[[], pd.DataFrame], pd.DataFrame],
    notes: list[str],
    sizes: Mapping[str, int],
) -> Record:
    trials, curves, images = frames
    decisions = pd.DataFrame([e for e in events if e["event"] == "decision"], columns=DECISION)
    mixed = mixtures(study, events)
    return Record(
        folder, study, trials, images, decisions, tuple(notes), mixed, sizes, _curves=curves
    )


DECISION = ["time", "trial", "cell", "epoch", "value", "rank", "n", "goes_on", "verdict", "rule"]


def read_events(
    folder: Path, size: int | None = None, study: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    """The journal of a run folder, which must be there once epochs have been trained.

    Args:
        folder: the run folder.
        size: read so many bytes of it; None for all.
        study: its study.json, where that has been read.

    Raises:
        JournalError: it is damaged, of another study, shorter than it was when the frames were
            made, or without an event though something else in the folder says that trials ran.
    """
    path = folder / JOURNAL
    study = load_study(folder) if study is None else study
    events = read_journal(path, size)
    for number, event in enumerate(events, 1):
        if fault := misfit(study, event):
            raise fault_in(path, number, fault)
    if not events and (found := traces(folder)) and not read_lines(path):
        raise JournalError(
            f"{path} is missing or holds nothing, though {found}; "
            "restore it from a copy. Without it nothing is known of what was finished"
        )
    check_size(folder)
    return events


def earlier_frames(folder: Path, study: dict[str, Any], sizes: Mapping[str, int]) -> Frames | None:
    """The frames as written, against which logs are held that are not known to be as they were.

    None of logs that have only grown since, by checksum: no number of theirs is another.

    Args:
        folder: the run folder.
        study: its study.json.
        sizes: bytes of its logs.

    Raises:
        RecordError: a frame is damaged, and the logs have not grown since.
    """
    stamp = stamp_of(folder) or {}
    if stamp.get("sums") and sizes_in(stamp) != sizes and logs_begin_so(folder, stamp):
        return None
    return frames_of(folder, sizes, trial_columns(study))


def frames_made(
    folder: Path,
    study: dict[str, Any],
    events: list[dict[str, Any]],
    sizes: Mapping[str, int],
    before: Frames | None,
) -> tuple[pd.DataFrame, pd.DataFrame, Epochs, list[str]]:
    """The trials and curves frames made from the logs, what these have rows of, and notes.

    Raises:
        JournalError: the logs are damaged, or are not those that the earlier frames hold.
    """
    log, notes = whole_epochs(folder, events, sizes.get(EPOCHS))
    trials = trials_frame(study, events, log, repeats(log))
    curves = curves_frame(study["name"], log)
    if before and before.stamp.get("sums") and logs_begin_so(folder, before.stamp):
        before = None  # no number of the logs is another: if one of the frames is, it was changed
    check_rows(folder, log, curves, before, ":" not in study["task"])
    if before:
        check_trials(folder, trials, before.trials, setting_columns(study))
    return trials, curves, log.epochs, notes
