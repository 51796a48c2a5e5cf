"""Which failures are a trial's own, and which its node's."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from search.run.errors import InfrastructureError, NotSharedError, StoreError
from search.run.failures import infrastructure, killed_for_memory, why_it_died
from trainables.errors import WeightsError
from trainables.files import disk_fault
from trainables.task import DataError, MissingDataError

# of Ray 2.60, of a worker that was ended by SIGKILL
RAY_SAYS = (
    "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker "
    "exit detail: Worker unexpectedly exits with a connection error code 2. End of file. Some "
    "common causes include: (1) the process was killed by the OOM killer due to high memory "
    "usage, (2) ray stop --force was called, or (3) the worker crashed unexpectedly due to "
    "SIGSEGV or another unexpected error. If the process was killed by the kernel OOM killer "
    "(verifiable by checking for OOM in dmesg of the OOMing node), consider enabling resource "
    "isolation via --enable-resource-isolation to prevent node deaths by resource contention"
)


def caused(error: Exception, by: BaseException) -> Exception:
    error.__cause__ = by
    return error


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (InfrastructureError("code", "other code"), "code"),
        (NotSharedError("node n does not see /runs/x"), "run folder"),
        (caused(StoreError("s3://b/x: refused"), OSError(errno.EIO, "refused")), "store"),
        (caused(RuntimeError("wrapped"), StoreError("s3://b/x: refused")), "store"),
        (MissingDataError("no data in /data"), "data"),
        (caused(RuntimeError("wrapped"), MissingDataError("none")), "data"),
        (ModuleNotFoundError("No module named 'mine'"), "import"),
        (OSError(errno.ESTALE, "Stale file handle"), "read or write"),
        (OSError(errno.EIO, "Input/output error"), "read or write"),
        (caused(RuntimeError("torch"), OSError(errno.EACCES, "denied")), "read or write"),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), "GPU"),
        (RuntimeError("No CUDA GPUs are available"), "GPU"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), ""),
        (RuntimeError("CUDA error: device-side assert triggered"), ""),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ""),
        (MemoryError(), "memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory"),
        (DataError("IMG_1.jpg is cut"), ""),
        (WeightsError("depth 18"), ""),
        (ZeroDivisionError("division by zero"), ""),
    ],
)
def test_whose_fault_a_failure_is(error: Exception, cause: str) -> None:
    assert infrastructure(error) == cause


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("ModuleNotFoundError: No module named 'search'\nmore", "import"),
        ("The actor died because its node has died. Node Id: ab", "node"),
        ("Task was killed due to the node running low on memory. OutOfMemoryError", "memory"),
        (RAY_SAYS, "process"),
        ("", "process"),
    ],
)
def test_why_a_worker_died(text: str, cause: str) -> None:
    assert why_it_died(text)[0] == cause


def raised(how):
    try:
        how()
    except Exception as error:
        return error


def test_what_was_handled_before_is_no_reason():
    """A trial may try its luck with an import or a file, and then fail by itself."""

    def by_itself():
        try:
            import no_such_module  # noqa: F401
        except ImportError:
            {}["missing"]

    def with_its_own_words():
        try:
            Path("no such file").read_text()
        except FileNotFoundError:
            raise ValueError("the config is wrong") from None

    def because_of_it():
        try:
            Path("no such file").read_text()
        except FileNotFoundError as error:
            raise RuntimeError("no data") from error

    assert infrastructure(raised(by_itself)) == ""
    assert infrastructure(raised(with_its_own_words)) == ""
    assert infrastructure(raised(because_of_it)) == "read or write"
    full = raised(with_its_own_words)
    full.__context__.errno = errno.ENOSPC
    assert disk_fault(full) == ""


def test_memory_that_torch_does_not_get_is_the_nodes_fault() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60, dtype=torch.uint8)
    assert infrastructure(raised.value) == "memory"


def test_the_kernel_counts_what_it_has_ended_for_want_of_memory() -> None:
    """Where it can be had: a process in a group of its own that takes more than that allows."""
    group = Path(f"/sys/fs/cgroup/memory/resnet-tune-{os.getpid()}")
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(32 * 2**20))
    except OSError as error:
        pytest.skip(f"no group of processes can be made here: {error}")
    before = killed_for_memory()
    script = f"echo $$ > {group}/cgroup.procs; exec {sys.executable} -c 'x = b\"1\" * 2**28'"
    done = subprocess.run(["bash", "-c", script])
    group.rmdir()
    assert done.returncode == -signal.SIGKILL
    assert killed_for_memory() > before
