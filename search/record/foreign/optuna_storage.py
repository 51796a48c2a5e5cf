"""Runs of an Optuna study, read by Optuna itself from its storage."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.record.foreign.runs import Row, Run, Source, columns_of
from trainables.errors import UserError

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

STATES = {"COMPLETE": "complete", "PRUNED": "stopped", "FAIL": "failed"}  # the rest is open


def read_optuna(source: str, name: str = "") -> Source:
    """The trials of a study.

    Args:
        source: a sqlite file, a journal file, or a URL such as sqlite:///study.db.
        name: of the study; may be left out where there is one.

    Raises:
        UserError: it cannot be read, or has no such study, or one of several objectives.
    """
    import optuna

    quiet = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        storage = _storage(source)
        names = optuna.get_all_study_names(storage)
        study = optuna.load_study(study_name=_chosen(source, names, name), storage=storage)
        return _source(source, study)
    except UserError:
        raise
    except Exception as error:  # of a storage that is none, each kind raises its own
        raise UserError(f"{source}: cannot be read as an Optuna storage: {error}") from error
    finally:
        optuna.logging.set_verbosity(quiet)


def _storage(source: str) -> str | BaseStorage:
    if "://" in source:
        _require_there(source)
        return source
    path = Path(source)
    if not path.is_file():
        raise UserError(f"{path}: is no file; name a sqlite file, a journal file, or a URL")
    with path.open("rb") as file:
        start = file.read(16)
    if start.startswith(b"SQLite format 3"):
        _require_tables(path)
        return f"sqlite:///{path}"
    if not start.startswith(b"{"):
        raise UserError(f"{path}: is neither a sqlite file nor a journal of Optuna")
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(path)))


def _require_there(url: str) -> None:
    """Optuna would make a sqlite file that is not there, and its tables in one of another tool."""
    kind, _, path = url.partition(":///")
    if not kind.startswith("sqlite"):
        return
    if not Path(path).is_file():
        raise UserError(f"{url}: {path} is no file")
    _require_tables(Path(path))


def _require_tables(path: Path) -> None:
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as base:
            held = {row[0] for row in base.execute("select name from sqlite_master")}
    except sqlite3.Error as error:
        raise UserError(f"{path}: cannot be read as a sqlite file: {error}") from error
    if not {"studies", "trials", "version_info"} <= held:
        raise UserError(f"{path}: is a sqlite file, but has no studies of Optuna")


def _chosen(source: str, names: list[str], name: str) -> str:
    if not names:
        raise UserError(f"{source}: holds no study")
    if name and name not in names:
        raise UserError(f"{source}: has no study {name!r}; it has {', '.join(sorted(names))}")
    if not name and len(names) > 1:
        raise UserError(
            f"{source}: has {len(names)} studies; name one by --study: {', '.join(sorted(names))}"
        )
    return name or names[0]


def _source(source: str, study: Study) -> Source:
    if len(study.directions) > 1:
        raise UserError(
            f"{source}: study {study.study_name} has {len(study.directions)} objectives; a table "
            "here ranks by one. Write its trials to a csv (study.trials_dataframe()) and import "
            "that, naming the metric in the map"
        )
    runs = [_run(trial) for trial in study.trials]
    text = [[run.name, run.settings, [row.values for row in run.rows], run.state] for run in runs]
    found = Source(
        "optuna",
        f"{_file_of(source)}, study {study.study_name}",
        hashlib.sha256(json.dumps(text, default=str).encode()).hexdigest(),
        columns_of(runs),
        runs,
        epoch="step",
        modes={"value": "max" if study.direction.name == "MAXIMIZE" else "min"},
    )
    found.said.append("the checksum is of the trials as read, since a storage may hold more")
    return found


def _file_of(source: str) -> str:
    """Without what a URL may hold of a password, and without folders."""
    return source.rsplit("/", 1)[-1]


def _run(trial: FrozenTrial) -> Run:
    place = f"trial {trial.number}"
    own: dict[str, Any] = {k: v for k, v in trial.user_attrs.items() if k not in trial.params}
    rows = [
        Row(f"{place}, step {step}", {"step": step, "value": value})
        for step, value in sorted(trial.intermediate_values.items())
    ]
    state = STATES.get(trial.state.name, "open")
    if state == "complete" and trial.value is not None and not rows:
        rows.append(Row(place, {"value": trial.value}))
    took = trial.duration.total_seconds() if trial.duration is not None else None
    settings = {**trial.params, **own}
    return Run(str(trial.number), place, settings, rows, state, took)
