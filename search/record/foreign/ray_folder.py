"""Runs of a Ray Tune experiment, from the plain files in its folder; Ray itself is not loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from search.record.foreign.runs import STATES, Row, Run, Source, columns_of, count, flat, sha256_of
from trainables.errors import UserError

OWN = {  # what Ray adds to each result, and is no metric
    *("timestamp", "checkpoint_dir_name", "done", "trial_id", "date", "time_this_iter_s"),
    *("time_total_s", "pid", "hostname", "node_ip", "config", "time_since_restore"),
    *("iterations_since_restore", "experiment_tag", "should_checkpoint", "episodes_total"),
    *("timesteps_total", "timesteps_since_restore", "warmup_time", "experiment_id"),
    *("auto", "time_this_batch", "hist_stats", "trial_name"),
}
EPOCH = "training_iteration"


def read_ray(source: Path) -> Source:
    """The trials of an experiment folder: `params.json` and `result.json` of each.

    Raises:
        UserError: it is none, or a file in it is damaged.
    """
    if not source.is_dir():
        raise UserError(f"{source}: is no folder; name that of the experiment, with its trials in")
    states = sorted(source.glob("experiment_state-*.json"))
    trials = sorted(path.parent for path in source.glob("*/params.json"))
    if not trials:
        below = [p.parent.name for p in sorted(source.glob("*/experiment_state-*.json"))]
        hint = f"; name one of {', '.join(below)} in it" if below else ""
        raise UserError(f"{source}: has no trial's params.json in any folder of it{hint}")
    ends = _ends(states[-1]) if states else {}
    read = [*states[-1:]]
    runs, again = list[Run](), 0
    for folder in trials:
        result = folder / "result.json"
        read += [folder / "params.json", *([result] if result.is_file() else [])]
        run, repeated = _run(folder, ends)
        again += repeated
        runs.append(run)
    said = [] if states else ["no experiment_state-*.json: how trials ended is not known"]
    if again:
        said.append(f"{count(again, 'epoch')} reported again after a restore: the later counts")
    columns = columns_of(runs)
    sha = sha256_of(read, source)
    return Source("ray", source.name, sha, columns, runs, epoch=EPOCH, said=said)


def _ends(path: Path) -> dict[str, str]:
    """Trial -> its state."""
    held = _json(path, path.read_text(encoding="utf-8", errors="replace"))
    try:
        trials = [json.loads(pair[0]) for pair in held["trial_data"]]
        return {str(t["trial_id"]): STATES.get(str(t["status"]).lower(), "") for t in trials}
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise UserError(
            f"{path}: is no state of an experiment that this reads ({error!r}); restore it, or "
            "take it away: how trials ended is then not known"
        ) from error


def _run(folder: Path, ends: dict[str, str]) -> tuple[Run, int]:
    """A trial, and how many of its epochs were reported again."""
    params = folder / "params.json"
    config = _json(params, params.read_text(encoding="utf-8", errors="replace"))
    if not isinstance(config, dict):
        raise UserError(f"{params}: is no table of settings")
    result = folder / "result.json"
    text = result.read_text(encoding="utf-8", errors="replace") if result.is_file() else ""
    rows: dict[Any, Row] = {}
    lines = text.splitlines()
    name, seconds = folder.name, None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if number == len(lines) and not text.endswith("\n") and not line.endswith("}"):
            break  # cut off by a kill
        held = _json(result, line, f", row {number}")
        name, seconds = str(held.get("trial_id", name)), held.get("time_total_s", seconds)
        values = {k: v for k, v in flat(held).items() if k not in OWN}
        values = {k: v for k, v in values.items() if not k.startswith("config/")}
        rows[held.get(EPOCH)] = Row(
            f"{result}, row {number}",
            {k: v for k, v in values.items() if isinstance(v, int | float | None)},
        )
    whole = sum(bool(line.strip()) for line in lines)
    state = ends.get(name) or next((s for n, s in ends.items() if f"_{n}_" in folder.name), "")
    error = folder / "error.txt"
    told = error.read_text(encoding="utf-8", errors="replace") if error.is_file() else ""
    last = told.strip().splitlines()[-1] if told.strip() else ""
    ordered = sorted(rows.values(), key=lambda row: row.values.get(EPOCH) or 0)
    run = Run(name, str(folder), flat(config), ordered, state, _seconds(seconds), last)
    return run, max(whole - len(rows), 0)


def _seconds(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and value >= 0 else None


def _json(path: Path, text: str, row: str = "") -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}{row}: is no JSON ({error}); restore it from a copy") from error
