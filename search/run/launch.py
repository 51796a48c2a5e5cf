"""From a spec to a finished record: preflight, run folder, Ray, and back; `resume` likewise."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search import record
from search.record import manifest
from search.record.run_folder import RunFolder
from search.record.terminal import shell
from search.run import machine
from search.run.arrays import array_sizes
from search.run.device import mps_active
from search.run.edited import edited
from search.run.inputs import Inputs, compared
from search.run.job_form import Places
from search.run.lineage import check_split
from search.run.machine_checks import check_machine
from search.run.mirror import Mirror, mirrored
from search.run.network_checks import check_networks, pretrained_files
from search.run.node_probe import computed_by, need_of
from search.run.options import Options, PreflightError, run_folder_fault
from search.run.packing import packing_here
from search.run.preflight import check_local, fingerprints, gpus_by_cell, told_by_data
from search.run.reach import check_address
from search.run.session import Beginning, begin_session, in_session
from search.run.study import Study
from search.run.watcher import Watcher
from search.spec.questions import find_questions
from search.spec.study_spec import StudySpec, recorded_spec
from trainables import places
from trainables.engine.cache import cache_note
from trainables.own_code import code_of

if TYPE_CHECKING:
    from search.run.nodes import Nodes

MPS = {
    True: "CUDA MPS is active: trials that share a GPU overlap",
    False: "CUDA MPS is absent: trials that share a GPU take turns",
}


def start(
    spec: StudySpec, text: str, overrides: list[str], options: Options, watcher: Watcher
) -> tuple[Path, bool]:
    """Run a new study.

    Args:
        spec: the study.
        text: of its file, for the record.
        overrides: applied to it, for the record.
        options: see Options.
        watcher: sees what happens.

    Returns:
        The run folder, and whether the study is done (False: interrupted).

    Raises:
        PreflightError: something is missing.
        ExecutionError: Ray cannot run it.
    """
    check_address(options.address)  # Ray comes last, and data may take minutes to decode before
    _say_places(options)
    if fault := run_folder_fault((options.runs_dir / spec.name).resolve()):
        raise PreflightError(fault)
    # held from here on: of two runs of one name the second changes nothing of the first
    with contextlib.ExitStack() as stack:
        try:
            run = stack.enter_context(RunFolder.make((options.runs_dir / spec.name).resolve()))
            held = mirrored(options.store, run.path, options.say, new=True)
            mirror = stack.enter_context(held)
        except record.RecordError as error:
            raise record.RecordError(f"{error}{edited(spec, options)}") from error
        options.say(f"run folder: {os.path.relpath(run.path)}")
        check_local(spec, options)
        data = fingerprints(spec, options)
        spec = told_by_data(spec, data)
        for key, question in find_questions(spec, data).items():
            options.say(f"note: {key}: {question}")
        check_networks(spec)
        check_machine(spec, options)
        weights = pretrained_files(spec, options, run.path)
        check_split(spec, data, weights, options.say)
        here = machine.here()
        facts = (spec, text, overrides, data, weights, here, options.task_dir)
        study = manifest.describe_study(*facts)  # before Ray: it may be refused
        store = {"store": options.store} if options.store else {}
        begin = Beginning("run", (), partial(run.create, {**study, **store}), mirror)
        return run.path, _execute(spec, run, options, Inputs(data, weights), watcher, begin)


def resume(
    folder: Path,
    options: Options,
    watcher: Watcher,
    retry_failed: bool = False,
    accept_changes: bool = False,
) -> bool:
    """Go on with a study from its journal; nothing that finished is run again.

    Args:
        folder: the run folder.
        options: see Options.
        watcher: sees what happens.
        retry_failed: run again what has failed for good, too.
        accept_changes: go on though settings, code or versions are not as on record.

    Returns:
        Whether the study is done (False: interrupted).

    Raises:
        RecordError, PreflightError, JournalError, ExecutionError: see there.
    """
    _say_places(options)
    with contextlib.ExitStack() as stack:
        run = stack.enter_context(RunFolder(folder.resolve()))
        store = options.store or run.study.get("store", "")
        mirror = stack.enter_context(mirrored(store, run.path, options.say, new=False))
        if store != run.study.get("store", ""):
            run.set_store(store)
        options = replace(options, store=store)
        held = run.study
        spec = recorded_spec(held, str(run.path / record.STUDY))
        study = _replayed(spec, run, watcher, mirror)
        if study.done and not (retry_failed and study.failed):
            study.write_views()
            study.end_copies(on_record=False)  # what they lacked; a record that is whole stays so
            return True
        held_dir = held.get("task_dir")
        options = replace(options, task_dir=Path(held_dir) if held_dir else None)
        try:
            check_address(options.address, before=options.address_before)
            inputs, accepted = compared(spec, run, options, accept_changes)
        except Exception:  # refused: nothing is put on record, what copies lacked they have now
            study.end_copies(on_record=False)
            raise
        begin = Beginning("resume", accepted, mirror=mirror)
        return _execute(spec, run, options, inputs, watcher, begin, study, retry_failed)


def _say_places(options: Options) -> None:
    """Once a run: what stands in for a home folder that this user lacks."""
    for note in (places.give_home(), cache_note()):
        if note:
            options.say(note)


def _replayed(
    spec: StudySpec, run: RunFolder, watcher: Watcher, mirror: Mirror | None = None
) -> Study:
    """A study as its journal has it, which may be over: nothing that it needs is looked for yet.

    Raises:
        JournalError: its journal does not fit the study.
    """
    there = Places(run.path, {}, {}, _sizes(spec, run.study), store=run.study.get("store", ""))
    return Study(spec, run, there, watcher, mirror)


def _execute(
    spec: StudySpec,
    run: RunFolder,
    options: Options,
    inputs: Inputs,
    watcher: Watcher,
    begin: Beginning,
    study: Study | None = None,
    retry_failed: bool = False,
) -> bool:
    """Run what is left of a study; a new one is created when nothing can refuse it any more.

    Args:
        spec: the study.
        run: its folder.
        options: see Options.
        inputs: data and weights.
        watcher: sees what happens.
        begin: how this session begins.
        study: of one that was begun before, as its journal has it.
        retry_failed: run again what has failed for good, too.
    """
    # imports ray, which takes seconds: not before the preflight is over
    from search.run import cluster, executor, ray_lines

    options.say(f"starting Ray ({options.address})")
    again = shell("resnet-search", "resume", options.store or run.path, "--address", "HOST:PORT")
    hint = f"Everything finished is on record: start a cluster, then `{again}`"
    with contextlib.ExitStack() as stack:
        begun = (run.path / record.STUDY).exists
        stack.enter_context(ray_lines.kept(run.path, begun, options.say))
        stack.callback(cluster.disconnect)
        cluster.connect(options.address, machine.cores(), options.say, options.ship_code, hint)
        events: list[dict[str, Any]] = []
        nodes = _nodes(spec, run.path, options, inputs, events.append)
        held = nodes.resources() if nodes else cluster.resources()
        packing = packing_here(spec, None if begin.create else run, options, nodes)
        gpus = gpus_by_cell(spec, cluster.gpus_of(held), packing)
        for share in set(gpus.values()):
            cluster.check_feasible(spec.resources.cpus_per_trial, share, held)
        if any(0 < share < 1 for share in gpus.values()):
            options.say(MPS[mps_active()])
        if begin.create:
            begin.create()
        run.add_packing(packing)
        there = Places(
            data_dir=options.data_dir.resolve(),
            weights=inputs.weights,
            gpus=gpus,
            sizes=_sizes(spec, run.study),
            task_dir=run.study.get("task_dir") or "",
            task_code=code_of(spec.own_code()),
            arrays=array_sizes(spec, packing or [], options.say, any(gpus.values())),
            store=run.study.get("store", ""),
        )
        if study is None or study.places.sizes != there.sizes:
            study = Study(spec, run, there, watcher, begin.mirror)
        study.places = there
        begin_session(study, run, options, begin)
        if retry_failed:
            options.say(f"run again: {', '.join(study.failed) or 'nothing failed'}")
            study.retry_failed()
        for event in events:
            study.note(event)
        if nodes:
            nodes.note = study.note
        return in_session(study, run, partial(executor.execute, nodes=nodes))


def _nodes(
    spec: StudySpec,
    folder: Path,
    options: Options,
    inputs: Inputs,
    note: Callable[[dict[str, Any]], None],
) -> Nodes | None:
    """The nodes of the cluster, each of which was asked what it has; None on this machine alone.

    Raises:
        ExecutionError: none may take jobs, or not all with `options.strict`.
    """
    from search.run import cluster
    from search.run.nodes import Nodes

    if options.address == "local":
        return None
    options.say(f"joined {cluster.joined()}; asking every node what it has")
    need = need_of(spec, options.store or str(folder), options, inputs.data, inputs.weights)
    nodes = Nodes(need, computed_by(), options.say, note)
    nodes.begin(options.strict)
    return nodes


def _sizes(spec: StudySpec, study: Mapping[str, Any]) -> dict[int, float]:
    """The GPU shares that the study began with, by cell: the order of its jobs hangs on them."""
    rows = study.get("packing") or []
    return gpus_by_cell(spec, 1, [row for row in rows if row["device"] == rows[0]["device"]])
