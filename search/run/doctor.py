"""Everything a study needs, looked at without training: what `run` would refuse, told at once."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch

from search.record import manifest
from search.record.taken import held_already
from search.run import machine
from search.run.errors import ExecutionError
from search.run.lineage import check_split
from search.run.machine_checks import Check, machine_checks
from search.run.network_checks import check_networks, pretrained_files, to_fetch
from search.run.options import Options, WouldFetchError, data_dir_fault, weights_dir_fault
from search.run.preflight import (
    check_local,
    data_notes,
    fingerprints,
    gpus_by_cell,
    told_by_data,
    told_of,
)
from search.run.reach import check_address, download_fault
from search.spec.questions import find_questions
from search.spec.study_spec import StudySpec
from trainables import find_task
from trainables.errors import TaskError, UserError, WeightsError
from trainables.networks import RESNET
from trainables.resnet import DEPTHS, check_weights, is_there, weights_name, weights_url
from trainables.task import MissingDataError

CLASSES = 12  # of own images that are told one by one
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
    options = replace(options, look_only=True)
    yield from machine_checks(spec, options)
    if spec is None:
        yield from _known_data(options)
        yield from _known_weights(options)
    else:
        yield from _needs(spec, options)
    yield _ray(spec, options)


def _needs(spec: StudySpec, options: Options) -> Iterator[Check]:
    if taken := held_already((options.runs_dir / spec.name).resolve()):
        yield _fault("run folder", taken)
    yield _tried("resources", lambda say: check_local(spec, options), _resources(spec, options))
    found: list[dict[str, Any]] = []
    yield from _data(spec, options, found)
    spec = told_by_data(spec, found)
    yield _tried("networks", lambda say: check_networks(spec), _networks(spec))
    yield from _weights(spec, options, found)
    try:
        manifest.describe_study(spec, "", [], found, {}, {})
    except TaskError as error:
        yield _fault("task", str(error))
    for key, question in find_questions(spec, found).items():
        yield Check("settings", "warning", f"{key}: {question}", "set it, if it was not meant so")


def _fault(name: str, told: str) -> Check:
    first, *more = (line.strip() for line in told.splitlines() if line.strip())
    return Check(name, "fault", first, items=tuple(more))


def _tried(name: str, look: Callable[[Callable[[str], None]], None], good: str) -> Check:
    """A check that raises what is wrong, and says what is doubtful."""
    said: list[str] = []
    try:
        look(said.append)
    except UserError as error:
        return _fault(name, str(error))
    items = tuple(text.removeprefix("note: ") for text in said)
    return Check(name, "warning" if said else "ok", good, items=items)


def _resources(spec: StudySpec, options: Options) -> str:
    """What a trial takes, of what there is."""
    asked, cpus = spec.resources.gpus_per_trial, spec.resources.cpus_per_trial
    here = options.address == "local"
    gpus = torch.cuda.device_count() if here else None
    of_cores, of_gpus = (f" of {machine.cores()}", f" of {gpus}") if here else ("", "")
    if asked == "auto":
        share = "the share of a GPU that is measured" if gpus else "no GPU: there is none"
        share = share if here else "a share of a GPU where the cluster has one"
    elif isinstance(asked, dict):
        by_depth = ", ".join(f"{share:g} at depth {depth}" for depth, share in asked.items())
        share = f"GPUs{of_gpus}: {by_depth}"
    else:
        share = f"{asked:g}{of_gpus} GPUs"
    cores = "core" if cpus == 1 and not here else "cores"
    return f"a trial takes {cpus:g}{of_cores} CPU {cores}, and {share}"


def _networks(spec: StudySpec) -> str:
    """The networks of the cells, and what they are given."""
    task = find_task(spec.task)
    names: dict[str, None] = {}
    shapes: dict[str, None] = {}
    for cell in spec.cell_values():
        config = spec.config(cell, {})
        name = config.get("network", RESNET)
        depth = config.get("depth")
        names[f"ResNet-{depth}" if name == RESNET and depth else str(name)] = None
        if task.inputs is not None:
            shapes["x".join(map(str, task.inputs(config)))] = None
    given = f" on inputs of {', '.join(shapes)}" if shapes else ""
    return ", ".join(names) + given


def _data(spec: StudySpec, options: Options, found: list[dict[str, Any]]) -> Iterator[Check]:
    """The study's data, a check a data set; what it is is added to `found`."""
    said: list[str] = []
    try:
        found += fingerprints(spec, replace(options, say=said.append))
    except WouldFetchError as error:
        url = find_task(spec.task).source
        yield _fetched("data", str(error), [url] if url else [])
        return
    except (UserError, OSError) as error:
        yield _fault("data", str(error))
        return
    yield from map(_judged, found)
    # notes of the data are in its own words; what is left is of data and study together
    known = {line for one in found for line in told_of(one)}
    for text in said:
        if text not in known:
            yield Check("settings", "warning", text.removeprefix("note: "))


def _judged(found: Mapping[str, Any]) -> Check:
    text = (
        f"{found['data']} ({found['edition']}), {found['train_images']:,} training and "
        f"{found['test_images']:,} test images{_classes(found)}"
    )
    state: Any = "warning" if found.get("warnings") else "ok"
    return Check("data", state, text, items=tuple(data_notes(found)))


def _classes(found: Mapping[str, Any]) -> str:
    """Number, names and images of classes that are the data's own; "" where it names none."""
    keys = ("classes", "train_per_class", "test_per_class")
    # a task of the user's own may call something else so
    columns = [held for key in keys if isinstance(held := found.get(key), list)]
    if len(columns) < len(keys) or len({*map(len, columns)}) > 1:
        return ""
    each = [f"{name} {train} + {test}" for name, train, test in zip(*columns, strict=True)]
    more = f" and {len(each) - CLASSES:,} more" if len(each) > CLASSES else ""
    noun = "class" if len(each) == 1 else "classes"
    return (
        f", {len(each):,} {noun} (training + test images, before validation is cut off): "
        f"{', '.join(each[:CLASSES])}{more}"
    )


def _fetched(name: str, absent: str, urls: Sequence[str]) -> Check:
    """What `run` would download: whether its host answers, which is asked for the heads alone."""
    by_hand = "put it there where there is no network"
    if not urls:
        text = f"{absent}; `run` downloads it, which is not tried here"
        return Check(name, "warning", text, by_hand)
    host, sizes = urlsplit(urls[0]).hostname, []
    for url in urls:
        fault, size = download_fault(url)
        if fault:
            text = f"{absent}, and cannot be downloaded from here: {host}: {fault}"
            return Check(name, "fault", text, f"put it there by hand ({url}), or name its folder")
        sizes.append(size)
    much = f" ({sum(sizes) / 1e6:,.0f} MB)" if all(sizes) else ""
    it = "it" if len(urls) == 1 else "them"
    return Check(name, "warning", f"{absent}; `run` downloads {it}{much} from {host}", by_hand)


def _known_data(options: Options) -> Iterator[Check]:
    if fault := data_dir_fault(options):
        yield _fault("data", fault)
        return
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
        except (UserError, OSError) as error:
            seen = True
            yield _fault("data", str(error))
            continue
        seen = True
        yield _judged(found)
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
    absent = []
    if not weights_dir_fault(options, fetched=False):
        try:
            absent = to_fetch(spec, options)
        except WeightsError as error:
            yield _fault("weights", str(error))
            return

    def look(say: Callable[[str], None]) -> None:
        held = replace(options, say=say)
        with tempfile.TemporaryDirectory() as folder:
            files = pretrained_files(spec, held, Path(folder))
        check_split(spec, data, files, say)

    there = ", ".join(str(d) for d in depths if d not in absent)
    check = _tried("weights", look, f"{spec.weights}, depth {there}: finite, and run once")
    if there or check.state != "ok":
        yield check
    if absent and not weights_dir_fault(options, fetched=True):
        text = f"depth {', '.join(map(str, absent))} not in {options.weights_dir}"
        yield _fetched("weights", text, [weights_url(depth) for depth in absent])


def _known_weights(options: Options) -> Iterator[Check]:
    if fault := weights_dir_fault(options, fetched=False):
        yield _fault("weights", fault)
        return
    there = {d: options.weights_dir / weights_name(d) for d in DEPTHS}
    try:
        held = {depth: path for depth, path in there.items() if is_there(depth, path)}
    except WeightsError as error:
        yield _fault("weights", str(error))
        return
    if not held:
        more = "`run` downloads what they lack" if options.download else "put files there for them"
        text = f"{options.weights_dir} holds no file of torchvision's; only pretrained cells need "
        yield Check("weights", "ok", f"{text}one, and {more}")
    for depth, path in held.items():

        def look(say: Callable[[str], None], depth: int = depth, path: Path = path) -> None:
            for note in check_weights(depth, path):
                say(note)

        yield _tried("weights", look, f"{path.name}: finite, and run once")


def _ray(spec: StudySpec | None, options: Options) -> Check:
    try:
        check_address(options.address)
    except (ExecutionError, UserError) as error:
        return _fault("Ray", str(error))
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
        return _fault("Ray", str(error))
    finally:
        cluster.disconnect()
    return Check("Ray", "ok", text)
