"""From a spec to a finished record: preflight, run folder, Ray, and back; `resume` likewise."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from search import record
from search.record import manifest
from search.record.run_folder import RunFolder
from search.record.terminal import in_words, shell
from search.run import machine
from search.run.errors import ExecutionError
from search.run.lineage import check_split, same_data
from search.run.machine_checks import check_machine
from search.run.network_checks import check_networks, pretrained_files
from search.run.options import Options, PreflightError, run_folder_fault
from search.run.packing import Packing, measured
from search.run.preflight import check_local, fingerprints, gpus_by_cell, told_by_data
from search.run.reach import check_address
from search.run.study import Places, Study, Watcher
from search.run.worker import mps_active
from search.spec.questions import find_questions
from search.spec.study_spec import StudySpec, recorded_spec
from trainables import places
from trainables.engine.cache import cache_note
from trainables.own_code import changed_code, code_of

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
    with RunFolder.make((options.runs_dir / spec.name).resolve()) as run:
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
        held = (spec, text, overrides, data, weights, here, options.task_dir)
        study = manifest.describe_study(*held)  # before Ray: it may be refused
        create = partial(run.create, study)
        return run.path, _execute(spec, run, options, weights, watcher, create)


def resume(folder: Path, options: Options, watcher: Watcher, retry_failed: bool = False) -> bool:
    """Go on with a study from its journal; nothing that finished is run again.

    Args:
        folder: the run folder.
        options: see Options.
        watcher: sees what happens.
        retry_failed: run again what has failed for good, too.

    Returns:
        Whether the study is done (False: interrupted).

    Raises:
        RecordError, PreflightError, JournalError, ExecutionError: see there.
    """
    _say_places(options)
    with RunFolder(folder.resolve()) as run:
        held = run.study
        spec = recorded_spec(held, str(run.path / record.STUDY))
        if _is_done(spec, run, watcher, retry_failed):
            return True
        check_address(options.address)
        if changed := changed_code(spec.own_code(), held.get("task_code", [])):
            raise PreflightError(
                f"{', '.join(changed)} is not the code that {run.path.name} was started with: "
                "restore it, or start the study anew with --name"
            )
        check_local(spec, options)
        data = fingerprints(spec, options)
        if not same_data(data, held["data"]):
            raise PreflightError(
                f"the data under {options.data_dir} is not what {run.path.name} was started with: "
                f"found {_short(data)}, on record {_short(held['data'])}. Name the right one with "
                "--data-dir"
            )
        check_machine(spec, options)
        weights = pretrained_files(spec, options, run.path)
        if manifest.describe(spec, weights) != held["weights"]:
            raise PreflightError(
                f"the pretrained weights under {options.weights_dir} are not those that "
                f"{run.path.name} was started with; name the right ones with --weights-dir"
            )
        return _execute(spec, run, options, weights, watcher, retry_failed=retry_failed)


def _say_places(options: Options) -> None:
    """Once a run: what stands in for a home folder that this user lacks."""
    for note in (places.give_home(), cache_note()):
        if note:
            options.say(note)


def _is_done(spec: StudySpec, run: RunFolder, watcher: Watcher, retry_failed: bool) -> bool:
    """Whether nothing is left to run; then its frames are written once more.

    Raises:
        JournalError: its journal does not fit the study.
    """
    study = Study(spec, run, Places(run.path, {}, {}, _sizes(spec, run.study)), watcher)
    done = study.done and not (retry_failed and study.failed)
    if done:
        study.write_views()
    return done


def session_places(options: Options) -> dict[str, str]:
    """Where a session looks, so that the next one can look there by itself."""
    return {
        "data_dir": str(options.data_dir),
        "weights_dir": str(options.weights_dir),
        "address": options.address,
    }


def _short(data: list[dict[str, Any]]) -> str:
    return ", ".join(
        f"{d['data']} ({d['edition']}, {d['train_images']} + {d['test_images']} images)"
        for d in data
    )


def _execute(
    spec: StudySpec,
    run: RunFolder,
    options: Options,
    weights: Mapping[int, Path],
    watcher: Watcher,
    create: Callable[[], None] | None = None,
    retry_failed: bool = False,
) -> bool:
    """Run what is left of a study; a new one is created when nothing can refuse it any more."""
    # imports ray, which takes seconds: not before the preflight is over
    from search.run import cluster, executor

    options.say(f"starting Ray ({options.address})")
    try:
        cluster.connect(options.address, machine.cores(), options.say)
        if options.address != "local":
            options.say(f"joined {cluster.joined()}")
        packing = _packing(spec, None if create else run, options)
        gpus = gpus_by_cell(spec, cluster.gpus_in_cluster(), packing)
        for share in set(gpus.values()):
            cluster.check_feasible(spec.resources.cpus_per_trial, share)
        if any(0 < share < 1 for share in gpus.values()):
            options.say(MPS[mps_active()])
        if create:
            create()
        run.add_packing(packing)
        there = Places(
            data_dir=options.data_dir.resolve(),
            weights=weights,
            gpus=gpus,
            sizes=_sizes(spec, run.study),
            task_dir=run.study.get("task_dir") or "",
            task_code=code_of(spec.own_code()),
        )
        study = Study(spec, run, there, watcher)
        facts = {**session_places(options), **machine.here(), "task_code": there.task_code}
        run.add_session("run" if create else "resume", facts)
        if retry_failed:
            options.say(f"run again: {', '.join(study.failed) or 'nothing failed'}")
            study.retry_failed()
        return _session(study, run, executor.execute)
    finally:
        cluster.disconnect()


def _session(study: Study, run: RunFolder, execute: Callable[[Study], bool]) -> bool:
    """Run a study; however that ends, its session ends and its frames are written.

    Raises:
        ExecutionError: see executor.execute, or the frames could not be written.
    """
    try:
        done = execute(study)
    except BaseException:
        with contextlib.suppress(OSError):  # what ended the study is told, not what follows
            _end_session(study, run)
        raise
    try:
        _end_session(study, run)
    except OSError as error:
        raise ExecutionError(
            f"the frames of {run.path} could not be written ({in_words(error)}); its logs are "
            f"whole: mend that, then `{shell('resnet-search', 'resume', run.path)}`"
        ) from error
    return done


def _end_session(study: Study, run: RunFolder) -> None:
    run.end_session()
    study.write_views()


def _packing(spec: StudySpec, run: RunFolder | None, options: Options) -> Packing | None:
    """What a trial was measured to need on the GPU that is here, for `gpus_per_trial = "auto"`.

    Args:
        spec: the study.
        run: of a study that is resumed; what it measured on such a GPU is not measured again.
        options: see Options.

    Raises:
        PreflightError: the study has run on a GPU, and here is none.
    """
    from search.run import cluster

    held = (run.study.get("packing") or []) if run else []
    gpus = cluster.gpus_in_cluster()
    if held and not gpus:
        raise PreflightError(
            f"the study has run on {held[0]['device']}, and here is no GPU: resume it where there "
            "is one, or join a cluster with --address"
        )
    if spec.resources.gpus_per_trial != "auto" or not gpus or (run and not held):
        return None
    if held:
        here = cluster.on_gpu(torch.cuda.get_device_name)
        known = [row for row in held if row["device"] == here]
        if known:
            return known
    options.say("measuring how many trials fit a GPU")
    try:
        folder = run.study.get("task_dir") if run else options.task_dir
        at = options.data_dir.resolve()
        return measured(spec, at, cluster.on_gpu, options.say, str(folder or ""))
    except Exception as error:  # whatever a trial may raise on a GPU
        lines = str(error).strip().splitlines() or [type(error).__name__]
        options.say(f"that failed, so each trial gets a GPU to itself: {lines[-1]}")
        return None


def _sizes(spec: StudySpec, study: Mapping[str, Any]) -> dict[int, float]:
    """The GPU shares that the study began with, by cell: the order of its jobs hangs on them."""
    rows = study.get("packing") or []
    return gpus_by_cell(spec, 1, [row for row in rows if row["device"] == rows[0]["device"]])
