"""study.json as it is read; its types are in `study_form`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from search.record.forms import from_json
from search.record.stored import STUDY, RecordError
from search.record.study_form import study_fault
from search.record.terminal import shell
from search.record.uris import as_uri, is_uri
from trainables.about import SHIPPED, plain
from trainables.errors import nearest
from trainables.files import unfit

FORMAT = 1
MOST_NAMED = 5  # runs of a folder that are named


def load_study(folder: Path) -> dict[str, Any]:
    """study.json of a run folder.

    Raises:
        RecordError: not there, or not readable.
    """
    path = folder / STUDY
    try:
        if fault := unfit(path):
            raise RecordError(f"{path} {fault}; put the file itself there, from a copy")
        study: dict[str, Any] = from_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        if is_uri(folder):
            fetch = shell("resnet-search", "fetch", as_uri(folder))
            raise RecordError(
                f"{as_uri(folder)} is a URI; `{fetch}` brings it to a folder"
            ) from None
        raise RecordError(
            f"{folder} is no run folder: it has no {STUDY}{_runs_near(folder)}"
        ) from None
    except RecordError:
        raise
    except ValueError as error:
        raise RecordError(f"{path} is damaged ({error}); restore it from a copy") from error
    held = study.get("format") if isinstance(study, dict) else None
    if held != FORMAT:
        raise RecordError(
            f"{path} has format {held!r}, this version reads {FORMAT}; restore the file from a "
            "copy, or read it with the version that wrote it"
        )
    _say_about(study)
    if fault := study_fault(study):
        raise RecordError(
            f"{path} is damaged: {fault}; restore it from a copy, or write again there what it was"
        )
    return study


def _runs_near(folder: Path) -> str:
    """Of a folder that is no run the runs that may be meant: those in it, or one beside it."""
    inside = sorted(str(held.parent) for held in folder.glob(f"*/{STUDY}"))
    if inside:
        more = ", ..." if len(inside) > MOST_NAMED else ""
        return f"; runs in it: {', '.join(inside[:MOST_NAMED])}{more}"
    beside = {held.parent.name for held in folder.parent.glob(f"*/{STUDY}")}
    if near := nearest(folder.name, beside):
        return f"; did you mean {folder.with_name(near)}?"
    return ". Name the folder that `resnet-search run` printed, e.g. runs/quickstart-cifar10"


def _say_about(study: dict[str, Any]) -> None:
    """Fill in `about` in a record from before tasks said this of themselves."""
    task, metric, mode = (str(study.get(key)) for key in ("task", "metric", "mode"))
    metrics = study.get("metrics", [metric])
    if "about" not in study and isinstance(metrics, list):
        metrics = [str(name) for name in metrics]  # what is no text is refused for itself
        study["about"] = SHIPPED.get(task) or plain(task, metric, mode, tuple(metrics))
    elif task in SHIPPED and isinstance(study["about"], dict):  # from before this was said
        study["about"].setdefault("training", SHIPPED[task].get("training", ""))
