"""Whether this machine has what a study needs beside data and weights: room, memory, a clock."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from search.run import machine
from search.run.device import mps_active
from search.run.options import Options, PreflightError, run_folder_fault
from search.schedule.preview import preview
from search.spec.study_spec import StudySpec
from trainables import places
from trainables.engine.cache import cache_dir
from trainables.errors import reason

State = Literal["ok", "warning", "fault"]
LEAST_MB = 64  # for a record and its frames
DECODED_MB = 2_000  # of the cache: the larger of our data sets take 1,600
PROCESS_MB = 600  # of a worker before its first trial: Python, torch, Ray
DAY = 86_400
TEMPORARY = "temporary folder"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what.
        state: how it is.
        text: what there is, or what is wrong.
        fix: what mends it; "" where nothing needs to be.
        items: the single matters of it, worst first, where there are several.
    """

    name: str
    state: State
    text: str
    fix: str = ""
    items: tuple[str, ...] = ()


def check_machine(spec: StudySpec, options: Options) -> None:
    """Refuse a machine that cannot run the study, and say what is doubtful about it.

    Raises:
        PreflightError: with every fault.
    """
    held = list(machine_checks(spec, options))
    for check in held:
        # whoever makes Ray's folder says itself what is doubtful about it
        if check.state == "warning" and check.name != TEMPORARY:
            options.say(f"note: {check.name}: {check.text}; {check.fix}")
    faults = [f"{c.name}: {c.text}; {c.fix}" for c in held if c.state == "fault"]
    if faults:
        raise PreflightError("\n".join(faults))


def machine_checks(spec: StudySpec | None, options: Options) -> Iterator[Check]:
    """What this machine has, beside what a study needs where one is given. Writes nothing."""
    largest, every = (0.0, 0.0) if spec is None else _sizes(spec)
    if options.address == "local":
        yield _temporary()
    # a checkpoint holds weights, optimizer state and best weights: not more than a trial itself
    least = LEAST_MB + 2 * largest
    folder = options.runs_dir / spec.name if spec else options.runs_dir
    yield _run_folder(folder.resolve(), least, LEAST_MB + every)
    yield from _cache()
    if options.address == "local":
        yield _memory(spec, largest)
        yield from gpu_checks()
    yield _clock()


def _sizes(spec: StudySpec) -> tuple[float, float]:
    """MiB of the largest trial's weights and states, and of all that may lie side by side."""
    held = preview(spec, 1)
    each = held.trials // held.cells + len(spec.confirm.seeds)
    return max(held.memory_mb.values()), each * sum(held.memory_mb.values())


def _temporary() -> Check:
    folder, faults = places.temporary_folder()
    if folder is None:
        return Check(TEMPORARY, "fault", "; ".join(faults), "set TMPDIR to a short, writable one")
    if faults:
        fix = "set TMPDIR to a short, writable folder with room"
        return Check(TEMPORARY, "warning", f"{faults[0]}; {folder} is used instead", fix)
    return Check(TEMPORARY, "ok", f"{folder}, {_free_mb(folder):,.0f} MB free")


def _free_mb(path: Path) -> float:
    """Of the disk that a folder is on, or would be."""
    return shutil.disk_usage(places.nearest(path)).free / 2**20


def _run_folder(path: Path, least: float, most: float) -> Check:
    fault = run_folder_fault(path)
    if fault:
        text, _, fix = fault.partition("; ")
        return Check("run folder", "fault", text, fix)
    return _room("run folder", path, least, most, "--runs-dir")


def _room(name: str, path: Path, least: float, most: float, option: str) -> Check:
    """Whether a folder can be written and its disk has room, MiB."""
    path = path.resolve()
    if not places.can_make(path):
        return Check(name, "fault", f"{path} cannot be written", f"name another by {option}")
    free = _free_mb(path)
    said = f"{path}, {free:,.0f} MB free"
    if not free:
        fix = f"free space, or name another by {option}"
        return Check(name, "fault", f"{path}: its disk is full", fix)
    if free < least:  # it may fill: that ends a run in order, and `resume` goes on
        text = f"{said} of {least:,.0f} MB that one trial may need"
        return Check(name, "warning", text, f"free space, or name another by {option}")
    if free < most:
        text = f"{said}; if no trial ended early, checkpoints would take {most:,.0f} MB"
        return Check(name, "warning", text, f"free space, or name another by {option}")
    return Check(name, "ok", said)


def _cache() -> Iterator[Check]:
    try:
        folder = cache_dir()
    except OSError as error:
        yield Check(
            "cache", "fault", f"no folder for it ({reason(error)})", "set RESNET_TUNE_CACHE"
        )
        return
    held = _room("cache", folder, 0, DECODED_MB, "RESNET_TUNE_CACHE")
    if held.state == "warning":
        text = (
            f"{folder}, {_free_mb(folder):,.0f} MB free; decoded data may take {DECODED_MB:,} MB"
        )
        held = Check("cache", "warning", text, "free space, or name another in RESNET_TUNE_CACHE")
    if held.state == "fault":  # then each trial decodes for itself
        held = Check("cache", "warning", f"{held.text}; each trial decodes for itself", held.fix)
    yield held


def _memory(spec: StudySpec | None, largest: float) -> Check:
    free = machine.memory_mb()
    if free is None:
        return Check("memory", "ok", "how much is available is not known on this system")
    said = f"{free:,.0f} MB available"
    if spec is None:
        return Check("memory", "ok", said)
    slots = max(1, int(machine.cores() / spec.resources.cpus_per_trial))
    if torch.cuda.is_available():
        largest = 0  # weights and states are on the card
    one = largest + PROCESS_MB
    if free < one:
        text = f"{said}, and one trial takes {one:,.0f} MB without activations"
        return Check("memory", "fault", text, "end other programs, or leave out the deepest cells")
    if free < slots * one:
        text = f"{said}, and {slots} trials at once take {slots * one:,.0f} MB without activations"
        return Check("memory", "warning", text, "raise resources.cpus_per_trial: fewer at once")
    return Check(
        "memory", "ok", f"{said}; {slots} trials at once take {slots * one:,.0f} MB or more"
    )


def gpu_checks() -> Iterator[Check]:
    """GPUs, what shares them, and the compiler that kernels are made with."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        driver = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi")
        if not driver:
            yield Check("GPU", "ok", "none; trials run on the CPU")
            return
        fix = "install a torch build for the driver's CUDA, or unset CUDA_VISIBLE_DEVICES"
        text = f"a driver is here, and torch {torch.__version__} sees no GPU{_cuda_error()}"
        yield Check("GPU", "warning", text, fix)
        return
    names = [torch.cuda.get_device_name(i) for i in range(count)]
    yield Check("GPU", "ok", f"{count}: {', '.join(dict.fromkeys(names))}")
    if mps_active():
        yield Check("MPS", "ok", "active: trials that share a GPU overlap")
    else:
        fix = "start nvidia-cuda-mps-control -d where several trials share a GPU"
        yield Check("MPS", "warning", "absent: trials that share a GPU take turns", fix)
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        fix = "install gcc; without it BatchNorm runs unfused and a step takes longer"
        yield Check("C compiler", "warning", "none, and Triton makes kernels with one", fix)
    else:
        yield Check("C compiler", "ok", "there")


def _cuda_error() -> str:
    try:
        torch.cuda.init()
    except Exception as error:  # whatever the driver says
        return f" ({str(error).splitlines()[0]})"
    return ""


def _clock() -> Check:
    """A clock far in the past spoils dates on record and the validity of downloads."""
    now, ours = time.time(), Path(__file__).stat().st_mtime
    said = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now))
    if now < ours - DAY:
        there = time.strftime("%Y-%m-%d", time.gmtime(ours))
        text = f"{said}, and this program's files are of {there}"
        return Check("clock", "warning", text, "set the clock")
    return Check("clock", "ok", said)
