"""Data, weights and everything else that a study goes on with, held against its record."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.record import manifest
from search.record.run_folder import RunFolder
from search.run import machine
from search.run.changes import Change, find_changes, other_versions, take
from search.run.lineage import same_data
from search.run.machine_checks import check_machine
from search.run.network_checks import pretrained_files
from search.run.options import Options, PreflightError
from search.run.preflight import check_local, fingerprints
from search.spec.study_spec import StudySpec

FIRST = "mend that first"


@dataclass(frozen=True)
class Inputs:
    """What a study was found to have, as fingerprints and files.

    Attributes:
        data: fingerprints of the data of its cells.
        weights: number of a cell -> file of the pretrained weights that it starts from.
    """

    data: list[dict[str, Any]]
    weights: Mapping[int, Path]


def compared(
    spec: StudySpec, run: RunFolder, options: Options, accept: bool
) -> tuple[Inputs, list[str]]:
    """What a study that goes on has, and what of it is not as on record and is accepted.

    Raises:
        PreflightError: something is missing, or is not as on record; lists all of it.
    """
    held, here = run.study, machine.here()
    changes = find_changes(spec, held, run.events(), here)
    names = os.path.relpath(run.path), run.path.name
    try:
        inputs, other = _inputs(spec, run, options)
    except PreflightError as error:  # what has changed may be why, and is told with it
        if changes:
            take([*changes, Change(str(error), FIRST)], accept, *names)
        raise
    accepted = take([*changes, *other], accept, *names)
    for text in accepted:
        options.say(f"accepted: {text}")
    if texts := other_versions(held, here):
        options.say(f"note: since the last session {', '.join(texts)}; no result hangs on that")
    return inputs, accepted


def _inputs(spec: StudySpec, run: RunFolder, options: Options) -> tuple[Inputs, list[Change]]:
    """Data and weights of a study that goes on, and what of them is not as on record.

    Raises:
        PreflightError: something is missing.
    """
    held, changes = run.study, list[Change]()
    check_local(spec, options)
    data = fingerprints(spec, options)
    if not same_data(data, held["data"]):
        changes.append(
            Change(
                f"the data under {options.data_dir} is not what {run.path.name} was started with: "
                f"{_short(held['data'])} -> {_short(data)}",
                "name the right one with --data-dir",
            )
        )
    check_machine(spec, options)
    weights = pretrained_files(spec, options, run.path)
    if (now := manifest.describe(spec, weights)) != held["weights"]:
        changes.append(
            Change(
                f"the pretrained weights under {options.weights_dir} are not those that "
                f"{run.path.name} was started with: {_sums(held['weights'])} -> {_sums(now)}",
                "name the right ones with --weights-dir",
            )
        )
    return Inputs(data, weights), changes


def _sums(weights: Mapping[str, Mapping[str, Any]] | None) -> str:
    """Weights in a few words: depth, file and the beginning of its checksum."""
    held = (weights or {}).items()
    return ", ".join(f"{d}: {w['file']} (sha256 {w['sha256'][:8]})" for d, w in held) or "none"


def _short(data: list[dict[str, Any]]) -> str:
    return ", ".join(
        f"{d['data']} ({d['edition']}, {d['train_images']} + {d['test_images']} images)"
        for d in data
    )
