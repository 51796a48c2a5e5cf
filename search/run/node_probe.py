"""What a node is asked before it takes a job, and how its answer differs from what a study needs.

`look` runs on the node, everything else on the driver. Whoever asks is `search.run.nodes`.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from search.record.mixed import COMPUTES, computes
from search.record.uris import is_uri
from search.run import machine
from search.run.device import mps_active
from search.run.digest import code_digest
from search.run.errors import StoreError
from search.run.lineage import same_data
from search.run.options import Options
from search.run.preflight import of_data, own_fingerprint
from search.run.store import open_store
from search.spec.study_spec import StudySpec
from trainables import find_task, places
from trainables.engine.cache import cache_dir
from trainables.errors import UserError, reason
from trainables.own_code import changed_code, code_of, import_from, import_own
from trainables.resnet import describe_weights

Facts = dict[str, Any]

LEAST_MB = 64  # of disk, below which a node can hand nothing in
PROBE = "probe"  # folder of a run through which nodes answer


@dataclass(frozen=True)
class Need:
    """What every node of a study must have; plain values, so that Ray can carry it anywhere.

    Attributes:
        run: the run folder, absolute; or the URI of a store.
        task: key of TASKS, or `module:ATTRIBUTE` of the user's own.
        configs: one of each kind of data that the study's cells use.
        data_dir: where the data is.
        data: its fingerprints, as the driver found them.
        weights: depth -> file of pretrained weights.
        checksums: depth -> checksum of that file, as the driver found it.
        gpu: whether trials take a GPU.
        own: names of code of the user's own.
        task_dir: folder that it is imported from; "" for none.
        task_code: of that code; see `trainables.own_code.code_of`.
    """

    run: str
    task: str
    configs: Sequence[Mapping[str, Any]]
    data_dir: str
    data: Sequence[Mapping[str, Any]]
    weights: Mapping[str, str] = field(default_factory=dict)
    checksums: Mapping[str, str] = field(default_factory=dict)
    gpu: bool = False
    own: Sequence[str] = ()
    task_dir: str = ""
    task_code: Sequence[Mapping[str, str]] = ()


def look(need: dict[str, Any], nonce: str, answer: str) -> Facts:
    """On a node: what it has of what a study needs; raises nothing for what it lacks.

    Args:
        need: fields of a Need.
        nonce: what the driver has written to `probe/nonce` of the run.
        answer: name of the file that the same is written to, beside it.

    Returns:
        code, versions, gpus, mps, free_mb, folder, data, weights, task_code; `folder` is "" or
        what is wrong with the run folder, and of the last three an error's text where one was
        raised.
    """
    needed = Need(**need)
    return {
        "node": platform.node(),
        **computed_by(),
        "gpus": gpu_names(),
        "mps": mps_active(),
        "free_mb": _free_mb(needed.run),
        "folder": _try_folder(needed.run, nonce, answer),
        "task_code": _or_error(_task_code, needed),
        "data": _or_error(_data, needed),
        "weights": _or_error(_weights, needed),
    }


def computed_by() -> Facts:
    """Code and versions by which this process computes, as the record compares them."""
    return {"code": code_digest(), "versions": computes(machine.versions())}


def clock() -> float:
    """On a node: its time of day, in seconds."""
    return time.time()


def gpu_names() -> list[str]:
    """Names of this machine's GPUs; a task without one cannot ask CUDA."""
    try:
        words = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    lines = done.stdout.splitlines() if done.returncode == 0 else []
    return [line.strip() for line in lines if line.strip()]


def _free_mb(run: str) -> dict[str, float]:
    """Free space of the disks that a worker writes to, MiB; of those that are there."""
    at = ("temporary folder", Path(tempfile.gettempdir())) if is_uri(run) else None
    found = {}
    for name, path in (at or ("run folder", Path(run)), ("cache", cache_dir())):
        try:
            while not path.exists() and name == "cache":
                path = path.parent
            found[name] = shutil.disk_usage(path).free / 2**20
        except OSError:
            continue
    return found


def _try_folder(run: str, nonce: str, answer: str) -> str:
    """What is wrong with the run folder, or store, as it is seen here; "" if nothing is."""
    said = "store" if is_uri(run) else f"run folder {run}"
    try:
        store = open_store(run)
        held = store.read(f"{PROBE}/nonce")
    except (OSError, StoreError, UserError) as error:
        return f"it does not see the {said} ({reason(error)})"
    if held is None:
        return f"it does not see the {said} (what the driver has written to {run} is not there)"
    if held != nonce.encode():
        return f"it sees another folder at {run}"
    try:
        with store.writing(f"{PROBE}/{answer}") as path:
            path.write_text(nonce, encoding="ascii")
    except (OSError, StoreError) as error:
        return f"it cannot write the {said} ({reason(error)})"
    return ""


def _or_error(function: Any, need: Need) -> Any:
    try:
        return function(need)
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return f"{lines[0]}{f' (and {len(lines) - 1} more)' if len(lines) > 1 else ''}"


def _task_code(need: Need) -> list[str]:
    """Files of the user's own code that are not here as they are on record."""
    if not need.own:
        return []
    if need.task_dir:
        import_from(need.task_dir)
    for name in need.own:
        import_own(name)
    return changed_code(need.own, need.task_code)


def _data(need: Need) -> list[dict[str, Any]]:
    if need.task_dir:
        import_from(need.task_dir)
    places.give_home()
    task, found = find_task(need.task), list[dict[str, Any]]()
    for config in need.configs:
        held = task.fingerprint(Path(need.data_dir), config)
        held = own_fingerprint(need.task, held) if ":" in need.task else held
        if held not in found:
            found.append(held)
    return found


def _weights(need: Need) -> dict[str, str]:
    return {depth: describe_weights(Path(p))["sha256"] for depth, p in need.weights.items()}


# -- on the driver ------------------------------------------------------------------------------


def need_of(
    spec: StudySpec,
    run: str,
    options: Options,
    data: Sequence[Mapping[str, Any]],
    weights: Mapping[int, Path],
) -> Need:
    """What every node of a study must have.

    Args:
        spec: the study.
        run: its run folder, or the URI of its store.
        options: where it looks.
        data: fingerprints, as the driver found them.
        weights: number of a cell -> its file of pretrained weights.
    """
    configs = [spec.config(cell, {}) for cell in spec.cell_values()]
    own = spec.own_code()
    files = {str(configs[n]["depth"]): str(path) for n, path in weights.items()}
    gpus = spec.resources.gpus_per_trial
    need = Need(
        run=run,
        task=spec.task,
        configs=list({of_data(spec, config): config for config in configs}.values()),
        data_dir=str(options.data_dir.resolve()),
        data=data,
        weights=files,
        gpu=gpus != 0,
        own=own,
        task_dir=str(options.task_dir or ""),
        task_code=code_of(own),
    )
    return replace(need, checksums=_weights(need))


def lacks(facts: Facts, need: Need, ours: Facts, answered: str) -> list[str]:
    """What a node lacks of what a study needs; [] for one that may take its jobs.

    Args:
        facts: of `look`.
        need: what it was asked for.
        ours: of the driver; see `computed_by`.
        answered: what the driver found in the node's answer file; the nonce, or "" for none.

    Returns:
        One short text each, worst first, with what mends it where that is not plain.
    """
    found = []
    if facts["code"] != ours["code"]:
        found.append(
            f"it has other code of resnet-tune ({facts['code']}, the driver has {ours['code']}): "
            "install the same there, or --ship-code"
        )
    for name in COMPUTES:
        held, own = facts["versions"].get(name), ours["versions"][name]
        if held != own:
            found.append(f"{name} {held}, the driver has {own}")
    if need.gpu and facts["gpus"] and facts["versions"]["cuda"] == machine.NO_CUDA:
        found.append("its torch is built without CUDA")
    if facts["folder"]:
        found.append(facts["folder"])
    elif not answered:
        found.append(f"what it writes to {need.run} does not arrive here: mount the same folder")
    if isinstance(facts["task_code"], str):
        found.append(f"code of your own: {facts['task_code']}")
    elif facts["task_code"]:
        found.append(f"other code of your own: {', '.join(facts['task_code'])}")
    if isinstance(facts["data"], str):
        found.append(f"data: {facts['data']}")
    elif not same_data(list(facts["data"]), [dict(one) for one in need.data]):
        found.append(f"the data under {need.data_dir} is another than the driver's")
    if isinstance(facts["weights"], str):
        found.append(f"weights: {facts['weights']}")
    elif facts["weights"] != dict(need.checksums):
        found.append("pretrained weights are other files than the driver's")
    for name, free in facts["free_mb"].items():
        if free < LEAST_MB:
            found.append(f"{free:.0f} MB free for its {name}")
    return found
