"""The device that a worker computes on, and what it took of it; loads torch when asked."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from trainables.errors import causes, no_gpu_memory


def mps_active() -> bool:
    """Whether a CUDA MPS daemon serves this machine: then kernels of packed trials overlap.

    Its clients run without it, silently, where it is absent (nvidia-cuda-mps-control's manual).
    """
    pipes = Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps"))
    return (pipes / "control").exists()


def why_broken(kind: str) -> str:
    """Why nothing can be computed on a device in this process any more; "" where it can.

    After an illegal access, for example, every call of a process to its GPU fails.
    """
    import torch

    try:
        if kind == "cuda":
            torch.cuda.synchronize()
    except RuntimeError as error:
        return str(error).splitlines()[0]
    return ""


def peak_mb() -> float:
    """Peak GPU memory of this process where it used one, else its peak resident memory; MiB."""
    import torch

    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def device_name(gpus: float) -> str:
    """The GPU of a job that takes a share of one, or what it has instead."""
    import torch

    if gpus and torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}{', MPS' if mps_active() else ''}"
    return f"cpu, {os.cpu_count()} cores"


def out_of_memory(error: BaseException) -> bool:
    """Whether a GPU had no memory left for the job."""
    return any(no_gpu_memory(one) for one in causes(error))
