"""What is said to a user when something given is at fault; loads nothing."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable, Iterator


class UserError(ValueError):
    """Something that a user gave is at fault; the message names it and the fix.

    Commands print the message alone and end with status 2. Any other exception is a fault of the
    program and keeps its traceback.
    """


class RecordWarning(UserWarning):
    """Something of a study's record is damaged, and what is read of it is all the same true."""


class TaskError(UserError):
    """A study's `task` names no task, or an unsound one."""


class WeightsError(UserError):
    """Pretrained weights are missing or unfit; the message names depth, file and what to do."""


# where it is no torch.OutOfMemoryError that says so
_GPU_MEMORY = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC")


def no_gpu_memory(error: BaseException) -> bool:
    """Whether a GPU had no memory left, told by torch or by one of CUDA's libraries."""
    import torch  # not at the top: what reads records is to load none

    told = isinstance(error, RuntimeError) and any(text in str(error) for text in _GPU_MEMORY)
    return told or isinstance(error, torch.OutOfMemoryError)


def no_memory(error: BaseException) -> bool:
    """Whether the system refuses memory; torch says that of a CPU's in a RuntimeError."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    refused = isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    return refused or isinstance(error, MemoryError)


def reason(error: BaseException) -> str:
    """Why a file that is already named cannot be read or written, without its name and number."""
    if isinstance(error, UnicodeDecodeError):
        return f"it is no UTF-8 text (byte {error.start + 1} is 0x{error.object[error.start]:02x})"
    return str(getattr(error, "strerror", None) or error)


def nearest(name: object, known: Iterable[object]) -> str:
    """The known name nearest to one that is unknown, "" where none is near.

    Args:
        name: as it was given.
        known: names that would be right; their case does not matter.
    """
    names = {str(held).casefold(): str(held) for held in known}
    near = difflib.get_close_matches(str(name).casefold(), names, 1)
    return names[near[0]] if near else ""


def did_you_mean(name: object, known: Iterable[object], quote: str = "") -> str:
    """Of a name that is unknown the nearest known one, e.g. "; did you mean depth?".

    Args:
        name: as it was given.
        known: names that would be right; their case does not matter.
        quote: mark on both sides of the name.

    Returns:
        "" where none is near.
    """
    near = nearest(name, known)
    return f"; did you mean {quote}{near}{quote}?" if near else ""


def causes(error: BaseException | None, implied: bool = True) -> Iterator[BaseException]:
    """An exception, and those behind it, the newest first.

    Args:
        error: the newest.
        implied: with what was being handled when it was raised, unless it was raised `from` else.
    """
    while error is not None:
        yield error
        behind = error.__context__ if implied and not error.__suppress_context__ else None
        error = error.__cause__ or behind
