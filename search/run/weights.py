"""Networks of a finished study as weights files that other studies, and torchvision, can load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from search.record import Record, RecordError, load
from search.record.naming import cell_label
from search.record.terminal import shell
from search.run.lineage import GIVEN, ancestors_unknown
from trainables.files import whole
from trainables.resnet import missing_tensors, own_weights


def write_weights(
    run: Path, out: Path, cell: int | None = None, trial: str | None = None
) -> list[Path]:
    """Write the best network of each depth, as `weights = "NAME"` of another study wants it.

    The best is by validation, among the trials that were scored on test: a cell's seeds, at the
    checkpoint that the study's rule chose.

    Args:
        run: folder of a study with `keep_checkpoints = true`.
        out: folder to write `resnet<depth>.pth` into, a state dict with torchvision's names and
            the task's own head (`fc.*`), and `resnet<depth>.json`, which says where it is from.
        cell: take this cell alone; needed where several cells have the same depth.
        trial: take this trial alone; needed where there are no validation images to choose by.

    Returns:
        The files written.

    Raises:
        RecordError: no such trial or checkpoint, depths that cells share, files already there,
            networks that are no whole ResNets, or several trials and nothing but test scores to
            choose by.
    """
    record = load(run)
    sign = 1 if record.study["mode"] == "max" else -1
    chosen = {
        own_weights(depth, out): trials.iloc[int((sign * trials["value"]).argmax())]
        for depth, trials in _candidates(record, cell, trial).items()
    }
    for path, row in chosen.items():  # all or none
        if path.exists():
            raise RecordError(f"{path} is already there; name another folder with --out")
        _checkpoint(record, row)
    written = {path: (_state(record, row), _origin(record, row)) for path, row in chosen.items()}
    for path, (state, origin) in written.items():
        _write(path, state, origin)
    return list(chosen)


def _candidates(record: Record, cell: int | None, trial: str | None) -> dict[int, pd.DataFrame]:
    """Depth -> its trials that were scored on test."""
    cells = record.study["cells"]
    if cell is not None and not 0 <= cell < len(cells):
        raise RecordError(f"{record.run}: no cell {cell}; there are 0 to {len(cells) - 1}")
    trials = record.trials[record.trials[f"test_{record.study['metric']}"].notna()]
    if trial is not None:
        trials = trials[trials["trial"] == trial]
        if trials.empty:
            raise RecordError(f"{record.run}: no trial {trial} has been scored on test")
        cell = int(trials["cell"].iloc[0])
    found: dict[int, pd.DataFrame] = {}
    for number, at in enumerate(cells):
        if cell not in (None, number):
            continue
        settings = {**record.study["settings"], **at}
        if "depth" not in settings:
            raise RecordError(
                f"{record.run}: task {record.study['task']} has no depth, so no other study can "
                "start from its networks"
            )
        if (network := settings.get("network", "resnet")) != "resnet":
            raise RecordError(
                f"{record.run}: cell {number} is of network = {network!r}, and only the ResNets' "
                "weights start other studies; choose another with --cell"
            )
        depth = int(settings["depth"])
        if depth in found:
            raise RecordError(
                f"{record.run}: several cells have depth {depth}, which --cell chooses among: "
                + "; ".join(f"{n} ({cell_label(values)})" for n, values in enumerate(cells))
            )
        found[depth] = trials[trials["cell"] == number]
        if found[depth].empty:
            raise RecordError(
                f"{record.run}: no trial of cell {number} ({cell_label(at)}) has been scored on "
                f"test yet; finish the study with `{shell('resnet-search', 'resume', record.run)}`"
            )
        if len(found[depth]) > 1 and record.study["watched"] == "test":
            raise RecordError(
                f"{record.run}: it has no validation images (val_fraction = 0), and the best by "
                "test would be chosen on what is to be told; name one with --trial: "
                + ", ".join(found[depth]["trial"])
            )
    return found


def _origin(record: Record, trial: pd.Series) -> dict[str, Any]:
    """Where a network is from, for the record of whoever starts from it."""
    study = record.study
    return {
        "study": study["name"],
        "task": study["task"],
        "data": study["data"],
        "synthetic": study["synthetic"],
        "split_seed": study["seed"],
        "val_fraction": {**study["settings"], **study["cells"][int(trial["cell"])]}.get(
            "val_fraction"
        ),
        "ancestors": _ancestors(study, trial),
        "trial": str(trial["trial"]),
        "config": json.loads(trial["config"]),
        "epochs": int(trial["value_epoch"]),
        "value": {str(trial["metric"]): float(trial["value"])},
        "git": study["git"],
    }


def _ancestors(study: dict[str, Any], trial: pd.Series) -> list[dict[str, Any]]:
    """What the network that a trial started from had been trained on, and those before it.

    Raises:
        RecordError: that is not known.
    """
    settings = {**study["settings"], **study["cells"][int(trial["cell"])]}
    held = (study.get("weights") or {}).get(str(settings.get("depth")))
    if not settings.get("pretrained") or held is None or held["source"] in GIVEN:
        return []
    origin = held.get("origin")
    if origin is None or ancestors_unknown(origin):
        raise RecordError(
            f"study {study['name']} started from weights {held['source']!r} whose own origin is "
            "not on record, so it cannot be said what images these networks have seen; copy their "
            "checkpoints by hand if that is no matter"
        )
    keys = ("study", "task", "data", "split_seed", "val_fraction", "config")
    parent = {key: origin[key] for key in keys if key in origin}
    return [parent, *origin.get("ancestors", ())]


def _checkpoint(record: Record, trial: pd.Series) -> Path:
    path = record.run / "checkpoints" / f"{trial['trial']}.pt"
    if not path.is_file():
        raise RecordError(
            f"{path} is not there: checkpoints of ended trials are removed unless the study says "
            "keep_checkpoints = true. Run it again with that, under another --name"
        )
    return path


def _state(record: Record, trial: pd.Series) -> dict[str, Tensor]:
    """The weights that a trial is judged by, mapped from its checkpoint.

    Raises:
        RecordError: it cannot be read, or the network lacks what every study that starts from
            weights asks for.
    """
    checkpoint = _checkpoint(record, trial)
    try:
        held = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        state: dict[str, Tensor] = held["best_weights"] or held["net"]
    except Exception as error:  # torch.load raises many kinds for a truncated or foreign file
        raise RecordError(f"{checkpoint}: cannot be read ({type(error).__name__})") from error
    at = record.study["cells"][int(trial["cell"])]
    depth = int({**record.study["settings"], **at}["depth"])
    if lacking := missing_tensors(state, depth):
        more = f" and {len(lacking) - 1} more" * (len(lacking) > 1)
        raise RecordError(
            f"{record.run}: the network of trial {trial['trial']} is no whole ResNet-{depth}: it "
            f"lacks {lacking[0]}{more}, and a weights file holds them all. A crowd network has "
            "them with last_layer = 4 and norm = 'trained' or 'frozen'; choose another cell with "
            "--cell, or run the study again so, under another --name"
        )
    return state


def _write(path: Path, state: dict[str, Tensor], origin: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as partial:
        with partial.open("wb") as file:
            torch.save({name: value.clone() for name, value in state.items()}, file)
        with whole(path.with_suffix(".json")) as beside:  # the file that a study looks for is last
            beside.write_text(json.dumps(origin, indent=1), encoding="utf-8")
