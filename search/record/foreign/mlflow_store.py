"""Runs of an MLflow tracking store, from its plain files or its sqlite database.

MLflow itself is not needed: its file store is in maintenance since 3.x and refused by it, and its
database store needs the whole package. What is read of either has been the same for years: a
test holds it against stores that MLflow has written.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from search.record.foreign.runs import STATES, Row, Run, Source, columns_of, count, sha256_of
from trainables.errors import UserError, reason

FILE_STATES = {"1": "open", "2": "open", "3": "complete", "4": "failed", "5": "stopped"}
OWN = "mlflow."  # tags of MLflow's own begin so
Point = tuple[str, Any, Any, Any]  # place, step, timestamp, value


def read_mlflow(source: Path, name: str = "") -> Source:
    """The runs of an experiment.

    Args:
        source: the folder of a file store (mlruns), or a sqlite file.
        name: of the experiment; may be left out where one alone has runs.

    Raises:
        UserError: it is none, or has no such experiment.
    """
    if source.is_dir():
        return _of_files(source, name)
    if not source.is_file():
        raise UserError(f"{source}: is neither a folder of MLflow's files nor its sqlite file")
    with source.open("rb") as file:
        if not file.read(16).startswith(b"SQLite format 3"):
            raise UserError(f"{source}: is no sqlite file")
    try:
        with closing(sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True)) as base:
            return _of_base(source, base, name)
    except sqlite3.Error as error:
        raise UserError(f"{source}: cannot be read as MLflow's database: {error}") from error


def _chosen(source: Path, names: list[str], name: str) -> str:
    """The experiment; of several with runs one must be named."""
    if name and name not in names:
        raise UserError(f"{source}: has no experiment {name!r}; with runs are {', '.join(names)}")
    if not names:
        raise UserError(f"{source}: has no experiment with runs")
    if not name and len(names) > 1:
        raise UserError(
            f"{source}: {len(names)} experiments have runs; name one by --study: "
            f"{', '.join(names)}"
        )
    return name or names[0]


def _source(source: Path, name: str, sha: str, runs: list[Run], said: list[str]) -> Source:
    told = f"{source.name}, experiment {name}"
    return Source("mlflow", told, sha, columns_of(runs), runs, epoch="step", said=said)


def _rows(metrics: dict[str, list[Point]]) -> tuple[list[Row], int]:
    """A row a step, and how many values were logged twice; the later of them counts."""
    found: dict[int, tuple[str, dict[str, Any]]] = {}
    twice = 0
    for key, points in metrics.items():
        for place, step, _, value in sorted(points, key=lambda p: (int(p[1]), int(p[2]))):
            held = found.setdefault(int(step), (place, {"step": int(step)}))[1]
            twice += key in held
            held[key] = value
    return [Row(*found[step]) for step in sorted(found)], twice


def _told(twice: int, deleted: int) -> list[str]:
    said = []
    if twice:
        said.append(f"{count(twice, 'value')} logged again at the same step: the later counts")
    if deleted:
        said.append(f"{count(deleted, 'run')} left out: deleted there")
    return said


# ---- files


def _of_files(source: Path, name: str) -> Source:
    held = dict[str, list[Path]]()
    for path in sorted(source.glob("*/meta.yaml")):
        runs = sorted(below.parent for below in path.parent.glob("*/meta.yaml"))
        if runs and not path.parent.name.startswith("."):
            held[str(_yaml(path).get("name", path.parent.name))] = runs
    if not held:
        raise UserError(
            f"{source}: has no EXPERIMENT/RUN/meta.yaml; name the folder mlruns, or a sqlite file"
        )
    chosen = _chosen(source, sorted(held), name)
    read, found, twice, deleted = list[Path](), list[Run](), 0, 0
    metas = [(folder, _yaml(folder / "meta.yaml")) for folder in held[chosen]]
    for folder, meta in sorted(metas, key=lambda pair: str(pair[1].get("start_time", ""))):
        read.append(folder / "meta.yaml")
        if str(meta.get("lifecycle_stage", "active")) == "deleted":
            deleted += 1
            continue
        run, more = _of_folder(folder, meta, read)
        twice += more
        found.append(run)
    return _source(source, chosen, sha256_of(read, source), found, _told(twice, deleted))


def _yaml(path: Path) -> dict[str, Any]:
    try:
        held = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read: {reason(error)}") from error
    if not isinstance(held, dict):
        raise UserError(f"{path}: is no table")
    return held


def _files(folder: Path, read: list[Path]) -> dict[str, str]:
    """Name, with its folders, -> text."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else []
    read += paths
    return {
        p.relative_to(folder).as_posix(): p.read_text(encoding="utf-8", errors="replace")
        for p in paths
    }


def _of_folder(folder: Path, meta: dict[str, Any], read: list[Path]) -> tuple[Run, int]:
    tags = {k: v for k, v in _files(folder / "tags", read).items() if not k.startswith(OWN)}
    settings = {**tags, **_files(folder / "params", read)}
    metrics = dict[str, list[Point]]()
    for key, text in _files(folder / "metrics", read).items():
        for number, line in enumerate(text.splitlines(), 1):
            place = f"{folder / 'metrics' / key}, row {number}"
            parts = line.split()
            if len(parts) < 2 or not all(p.lstrip("-").isdigit() for p in (parts[0], *parts[2:3])):
                raise UserError(f"{place}: {line!r} is no time, value and step; restore it")
            step = parts[2] if len(parts) > 2 else "0"
            metrics.setdefault(key, []).append((place, step, parts[0], parts[1]))
    rows, twice = _rows(metrics)
    state = str(meta.get("status", ""))
    state = FILE_STATES.get(state) or STATES.get(state.lower(), "")
    took = _seconds(meta.get("start_time"), meta.get("end_time"))
    return Run(folder.name, str(folder), settings, rows, state, took), twice


def _seconds(start: Any, end: Any) -> float | None:
    """Of two times in ms."""
    if not isinstance(start, int) or not isinstance(end, int) or end < start:
        return None
    return (end - start) / 1000


# ---- sqlite


def _of_base(source: Path, base: sqlite3.Connection, name: str) -> Source:
    held = base.execute(
        "select e.name, r.run_uuid, r.status, r.start_time, r.end_time, r.lifecycle_stage "
        "from runs r join experiments e on e.experiment_id = r.experiment_id "
        "order by r.start_time, r.run_uuid"
    ).fetchall()
    chosen = _chosen(source, sorted({row[0] for row in held}), name)
    mine = [row for row in held if row[0] == chosen]
    params = _pairs(base.execute("select run_uuid, key, value from params"))
    tags = _pairs(base.execute("select run_uuid, key, value from tags"))
    metrics: dict[str, dict[str, list[Point]]] = {}
    for uuid, key, value, nan, time, step in base.execute(
        "select run_uuid, key, value, is_nan, timestamp, step from metrics"
    ):
        place = f"{source}, run {uuid}, metric {key}, step {step}"
        points = metrics.setdefault(uuid, {}).setdefault(key, [])
        points.append((place, step, time, "nan" if nan else value))
    found, twice, text = list[Run](), 0, hashlib.sha256()
    for _, uuid, status, start, end, stage in mine:
        if stage == "deleted":
            continue
        rows, more = _rows(metrics.get(uuid, {}))
        twice += more
        own = {k: v for k, v in tags.get(uuid, {}).items() if not k.startswith(OWN)}
        settings = {**own, **params.get(uuid, {})}
        state = STATES.get(str(status).lower(), "")
        run = Run(uuid, f"{source}, run {uuid}", settings, rows, state, _seconds(start, end))
        text.update(repr((uuid, status, settings, [dict(row.values) for row in rows])).encode())
        found.append(run)
    said = _told(twice, len(mine) - len(found))
    return _source(source, chosen, text.hexdigest(), found, said)


def _pairs(rows: Iterable[tuple[str, str, str]]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for uuid, key, value in rows:
        found.setdefault(uuid, {})[key] = value
    return found
