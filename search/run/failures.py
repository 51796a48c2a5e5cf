"""Two kinds of failure: what a trial did wrong, and what its node, process or network did to it.

The first is held against the trial (`retries` of the study). The second is no fault of its config:
its job goes back to the newest checkpoint, up to `losses` times, and the record names node and
cause.
"""

from __future__ import annotations

import errno
import re
from pathlib import Path

from search.run.errors import InfrastructureError, NotSharedError, StoreError
from trainables.errors import causes, no_memory

# of a card, its driver or its bus, not of what ran on it; an illegal access or a failed assertion
# is a program's own
_GPU = re.compile(
    r"CUDA error: (uncorrectable ECC|all CUDA-capable devices are busy|no CUDA-capable device|"
    r"unknown error|driver shutting down|invalid device ordinal|"
    r"hardware error|the launch timed out|system not yet initialized|initialization error)|"
    r"CUDA driver (initialization failed|version is insufficient)|No CUDA GPUs are available|"
    r"fallen off the bus",
    re.IGNORECASE,
)
# a worker's own files that are gone, or refused, or a network's
_REFUSED = {
    *(errno.ENOENT, errno.EIO, errno.EACCES, errno.EPERM, errno.ESTALE, errno.ENOTCONN),
    *(errno.ETIMEDOUT, errno.ECONNRESET, errno.ECONNREFUSED, errno.EHOSTDOWN),
    *(errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EREMOTEIO, errno.EBUSY, errno.EAGAIN),
    *(errno.ENXIO, errno.ENODEV, errno.EMFILE, errno.ENFILE, errno.EINTR),
}


def infrastructure(error: BaseException) -> str:
    """What of a node's failed a job, in a word; "" where it was the job's own fault.

    Args:
        error: that the job raised.

    Returns:
        "code", "run folder", "store", "data", "import", "GPU", "read or write", "memory" (the
        node's, not a GPU's), or "".
    """
    from trainables.task import MissingDataError

    # what was handled before is no reason: `except ImportError` may be how a trial tries its luck
    for one in causes(error, implied=False):
        if isinstance(one, InfrastructureError):
            return one.cause
        if isinstance(one, NotSharedError):
            return "run folder"
        if isinstance(one, StoreError):
            return "store"
        if isinstance(one, MissingDataError):
            return "data"
        if isinstance(one, ImportError):
            return "import"
        if isinstance(one, OSError) and one.errno in _REFUSED:
            return "read or write"
        if isinstance(one, RuntimeError) and _GPU.search(str(one)):
            return "GPU"
        # as where the kernel ends the process, which no config is blamed for either
        if no_memory(one):
            return "memory"
    return ""


def killed_for_memory() -> int:
    """How many processes this machine's kernel has ended for want of memory since it began."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def why_it_died(text: str) -> tuple[str, str]:
    """Cause and words for a worker that ended without a report.

    Args:
        text: of Ray's error, with whatever Ray adds to it.

    Returns:
        The cause in a word ("node", "import", "memory" or "process"), and one line.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    missing = next((line for line in reversed(lines) if "ModuleNotFoundError" in line), "")
    if missing:
        return "import", f"its worker cannot import the package ({missing})"
    if re.search(r"node (has )?died|node failure|node was terminated|NodeDied|preempted", text):
        return "node", "its node is gone"
    # not "OOM" alone: Ray names it as a guess for every process that is gone
    if re.search(r"OutOfMemoryError|running low on memory", text):
        return "memory", "its worker process was ended for want of memory"
    return "process", "its worker process died"


def last_line(text: str) -> str:
    """The last line of a text that is not blank; "" if there is none."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
