"""What both programs share of a command line: streams that take any text, ends that are told.

Loads nothing else.
"""

from __future__ import annotations

import codecs
import errno
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from trainables.errors import RecordWarning, reason

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130  # exit statuses
STAND_INS = {  # where a terminal's encoding lacks a mark
    "†": "+",
    "‡": "++",
    "§": "S",
    "¶": "P",
    "±": "+-",
    "×": "x",
    "·": ".",
    "•": "*",
    "≤": "<=",
    "≥": ">=",
    "≈": "~",
    "≠": "!=",
    "∞": "inf",
    "→": "->",
    "←": "<-",
    "–": "-",
    "—": "-",
    "−": "-",
    "…": "...",
    "²": "^2",
    "√": "sqrt",
    "°": "o",
    "‖": "||",
    "∅": "{}",
    "∇": "\\/",
    "⊕": "(+)",
    "◊": "<>",
    "⇣": "<-",
    "⇢": "<=",
    "↑": "^",
    "↓": "v",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
    "µ": "u",
    "η": "eta",
    "\u00a0": " ",
}
FIXES = {
    errno.ENOSPC: "free space there, or name another folder",
    errno.EDQUOT: "your quota is used up: free space there, or name another folder",
    errno.EFBIG: "a file may not grow so large here (ulimit -f)",
    errno.EROFS: "that is a read-only disk: name another folder",
    errno.EACCES: "this user may not: mend its permissions, or name another",
    errno.EPERM: "this user may not: mend its permissions, or name another",
    errno.ENOENT: "it is missing, or was removed meanwhile: put it back, or name another",
    errno.ENOTDIR: "a part of that path is a file: name a folder",
    errno.EISDIR: "that is a folder: name a file",
    errno.EEXIST: "that is there already: name another",
    errno.ENAMETOOLONG: "a file's name has at most 255 bytes, a path 4096: name a shorter one",
    errno.ELOOP: "its links go in a circle: mend them, or name another",
    errno.EMFILE: "this process may hold no more files open: raise `ulimit -n`",
    errno.ENFILE: "this machine holds no more files open: end something else first",
    errno.ENOMEM: "no memory is left: end something else, or run fewer trials at once",
    errno.EAGAIN: "no more processes are allowed (ulimit -u): end something else first",
}


def run(program: str, command: Callable[[], int], told: Mapping[type[Exception], int]) -> int:
    """Run a command; what a user's situation makes of it is one line, a bug keeps its traceback.

    Args:
        program: begins every line.
        command: returns its exit status.
        told: exceptions whose message says all -> the exit status then.

    Returns:
        The exit status: that of the command or of `told`; 1 where the system refuses something,
        or nobody reads the output any more; 130 after an interruption.
    """
    prepare_streams()
    try:
        with _notes_of_records(program):
            status = command()
        sys.stdout.flush()
        return status
    except tuple(told) as error:
        say(program, str(error))
        return next(status for kind, status in told.items() if isinstance(error, kind))
    except BrokenPipeError:  # `| head` has gone
        silence(sys.stdout)
        return FAILED
    except KeyboardInterrupt:
        say(program, "interrupted")
        return INTERRUPTED
    except MemoryError:
        say(program, f"no memory is left: {FIXES[errno.ENOMEM].partition(': ')[2]}")
        return FAILED
    except OSError as error:
        if error.errno is None:
            raise
        say(program, in_words(error))
        silence(sys.stdout)  # what could not be printed would fail again at the end
        return FAILED


@contextmanager
def _notes_of_records(program: str) -> Iterator[None]:
    """In the block what is said of a damaged record is a line, once."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", RecordWarning)
        python, told = warnings.showwarning, set[str]()

        def show(message: Warning | str, category: type[Warning], *place: Any) -> None:
            if not issubclass(category, RecordWarning):
                python(message, category, *place)
            elif str(message) not in told:
                told.add(str(message))
                say(program, f"note: {message}")

        warnings.showwarning = show  # type: ignore[assignment]
        yield


def in_words(error: OSError) -> str:
    """An error of the system: the path, what it is, and what mends it."""
    said = reason(error)
    names = [
        os.fsdecode(n) for n in (error.filename, error.filename2) if isinstance(n, str | bytes)
    ]
    place = f"{' -> '.join(names)}: " if names else ""
    fix = FIXES.get(error.errno or 0)
    return f"{place}{said}{f' ({fix})' if fix else ''}"


def shell(*words: str | Path) -> str:
    """A command that can be pasted into a shell, whatever its paths hold."""
    program, *rest = (str(word) for word in words)
    return shlex.join([program, *(f"./{w}" if _reads_as_option(w) else w for w in rest)])


def _reads_as_option(word: str) -> bool:
    return word.startswith("-") and Path(word).exists()


def prepare_streams() -> None:
    """Make standard output and error take any text, and be there, if only to be dropped.

    A stream that was closed (`>&-`) gets the null device: the next file to be opened, a journal
    for example, would else take its number, and a child process would write into it.
    """
    codecs.register_error("stand-in", _stand_in)
    for number, name in ((0, "stdin"), (1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None and not _is_open(number):
            held = os.open(os.devnull, os.O_RDWR)
            if held != number:
                os.dup2(held, number)
                os.close(held)
            os.set_inheritable(number, True)
        if stream is None and number:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
        elif number and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="stand-in")


class Steady:
    """A stream whose reader may go, or whose disk may fill: then the rest is dropped.

    For a command that goes on for hours, and must not end because nobody looks.

    Args:
        stream: the stream.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, or drop it."""
        try:
            return self._stream.write(text)
        except OSError:
            silence(self._stream)
            return len(text)

    def flush(self) -> None:
        """Write what is held back, or drop it."""
        try:
            self._stream.flush()
        except OSError:
            silence(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def silence(stream: TextIO) -> None:
    """Drop what else is printed: nobody reads it, and it would fail again when Python ends."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    except (OSError, ValueError, AttributeError):  # a stream of a test, without a number
        return


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _stand_in(error: UnicodeError) -> tuple[str | bytes, int]:
    """What is printed for what an encoding lacks; undecoded bytes of a name stay bytes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    if "\udc80" <= text[0] <= "\udcff":
        return bytes([ord(text[0]) - 0xDC00]), error.start + 1
    return STAND_INS.get(text[0], "?"), error.start + 1


def say(program: str, text: str) -> None:
    """A line of a program on standard error, if anybody reads it; what is printed comes first."""
    Steady(sys.stdout).flush()
    try:
        print(f"{program}: {text}", file=sys.stderr, flush=True)
    except OSError:
        silence(sys.stderr)
