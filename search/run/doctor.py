"""Everything a study needs, looked at without training: what `run` would refuse, told at once."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from search.run import machine
from search.run.errors import ExecutionError
from search.run.lineage import check_split
from search.run.machine_checks import Check, machine_checks
from search.run.preflight import (
    IMAGENET,
    Options,
    check_local,
    check_networks,
    data_notes,
    fingerprints,
    gpus_by_cell,
    pretrained_files,
    told_by_data,
    told_of,
)
from search.spec.questions import find_questions
from search.spec.study_spec import StudySpec
from trainables import find_task
from trainables.errors import UserError
from trainables.resnet import DEPTHS, check_weights, weights_name
from trainables.task import MissingDataError

# settings of the data that is looked for where no study says what it needs
KNOWN: tuple[tuple[str, dict[str, Any]], ...] = (
    ("cifar10", {}),
    ("shanghaitech", {"part": "A"}),
    ("shanghaitech", {"part": "B"}),
    ("imagefolder", {}),
)


def examine(spec: StudySpec | None, options: Options) -> Iterator[Check]:
    """Look at the machine, and at what a study needs; without one, at what there is.

    Args:
        spec: the study.
        options: where; nothing is downloaded, and `download` says whether `run` would.
    """
    yield from machine_checks(spec, options)
    if spec is None:
        yield from _known_data(options)
        yield from _known_weights(options)
    else:
        yield from _needs(spec, options)
    yield _ray(spec, options)


def _needs(spec: StudySpec, options: Options) -> Iterator[Check]:
    yield _tried("resources", lambda say: check_local(spec, options), "as asked for")
    found: list[dict[str, Any]] = []
    yield _data(spec, options, found)
    spec = told_by_data(spec, found)
    yield _tried("networks", lambda say: check_networks(spec), "they take the task's inputs")
    yield from _weights(spec, options, found)
    for key, question in find_questions(spec, found).items():
        yield Check("settings", "warning", f"{key}: {question}", "set it, if it was not meant so")


def _tried(name: str, look: Callable[[Callable[[str], None]], None], good: str) -> Check:
    """A check that raises what is wrong, and says what is doubtful."""
    said: list[str] = []
    try:
        look(said.append)
    except UserError as error:
        return Check(name, "fault", str(error))
    if said:
        return Check(name, "warning", "; ".join(text.removeprefix("note: ") for text in said))
    return Check(name, "ok", good)


def _data(spec: StudySpec, options: Options, found: list[dict[str, Any]]) -> Check:
    """The study's data; what it is is added to `found`."""
    said: list[str] = []
    held = replace(options, say=said.append, download=False)
    try:
        found += fingerprints(spec, held)
    except UserError as error:
        missing = isinstance(error.__cause__, MissingDataError)
        if missing and options.download and find_task(spec.task).download:
            text = f"nothing of it in {options.data_dir}; `run` downloads it"
            return Check("data", "warning", text, "put it there where there is no network")
        return Check("data", "fault", str(error))
    # notes of the data are in its own words; what is left is of data and study together
    known = {line for one in found for line in told_of(one)}
    more = [text.removeprefix("note: ") for text in said if text not in known]
    return _judged("data", found, more)


def _judged(name: str, found: list[dict[str, Any]], more: list[str]) -> Check:
    lines = []
    for one in found:
        counts = f"{one['train_images']} training and {one['test_images']} test images"
        lines.append("; ".join([f"{one['data']} ({one['edition']}), {counts}", *data_notes(one)]))
    bad = bool(more) or any(one.get("warnings") for one in found)
    return Check(name, "warning" if bad else "ok", "\n".join([*lines, *more]))


def _known_data(options: Options) -> Iterator[Check]:
    seen = False
    for name, settings in KNOWN:
        task = find_task(name)
        config = {key: held.default for key, held in task.settings.items()} | settings
        if name == "imagefolder" and not (options.data_dir / "train").is_dir():
            continue
        try:
            found = task.fingerprint(options.data_dir, config)
        except MissingDataError:
            continue
        except UserError as error:
            seen = True
            yield Check("data", "fault", str(error))
            continue
        seen = True
        yield _judged("data", [found], [])
    if not seen:
        text = f"no data set in {options.data_dir}"
        yield Check("data", "warning", text, "name the folder that holds one by --data-dir")


def _weights(spec: StudySpec, options: Options, data: list[dict[str, Any]]) -> Iterator[Check]:
    configs = [spec.config(cell, {}) for cell in spec.cell_values()]
    depths = sorted({int(c["depth"]) for c in configs if c.get("pretrained")})
    if not depths:
        return
    if spec.weights == "synthetic":
        yield Check("weights", "ok", "synthetic: made when the study starts")
        return
    absent = [d for d in depths if not (options.weights_dir / weights_name(d)).is_file()]
    if spec.weights == IMAGENET and absent and options.download:
        text = f"none of depth {', '.join(map(str, absent))} in {options.weights_dir}; "
        fix = "put torchvision's files there where there is no network"
        yield Check("weights", "warning", f"{text}`run` downloads them", fix)
        return

    def look(say: Callable[[str], None]) -> None:
        held = replace(options, say=say, download=False)
        with tempfile.TemporaryDirectory() as folder:
            files = pretrained_files(spec, held, Path(folder))
        check_split(spec, data, files, say)

    names = ", ".join(map(str, depths))
    yield _tried("weights", look, f"{spec.weights}, depth {names}: finite, and run once")


def _known_weights(options: Options) -> Iterator[Check]:
    there = {d: options.weights_dir / weights_name(d) for d in DEPTHS}
    held = {depth: path for depth, path in there.items() if path.is_file()}
    if not held:
        text = f"none of torchvision's in {options.weights_dir}; fine-tuned cells start from them"
        yield Check("weights", "ok", text)
    for depth, path in held.items():

        def look(say: Callable[[str], None], depth: int = depth, path: Path = path) -> None:
            for note in check_weights(depth, path):
                say(note)

        yield _tried("weights", look, f"{path.name}: finite, and run once")


def _ray(spec: StudySpec | None, options: Options) -> Check:
    # imports ray, which takes seconds
    from search.run import cluster

    try:
        cluster.connect(options.address, machine.cores(), lambda text: None)
        text = "starts here" if options.address == "local" else cluster.joined()
        if spec is not None:
            shares = gpus_by_cell(spec, cluster.gpus_of(cluster.resources()))
            for share in set(shares.values()):
                cluster.check_feasible(spec.resources.cpus_per_trial, share)
    except (ExecutionError, UserError) as error:
        return Check("Ray", "fault", str(error))
    finally:
        cluster.disconnect()
    return Check("Ray", "ok", text)
