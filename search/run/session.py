"""One driver's stay with a study: how it begins, what is put on record of it, and how it ends."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from search.record.run_folder import RunFolder
from search.record.terminal import in_words, shell
from search.run import machine
from search.run.changes import held_now
from search.run.errors import ExecutionError, StoreError
from search.run.mirror import Mirror
from search.run.options import Options
from search.run.study import Study
from trainables.errors import UserError


def session_places(options: Options) -> dict[str, str]:
    """Where a session looks, so that the next one can look there by itself."""
    return {
        "data_dir": str(options.data_dir),
        "weights_dir": str(options.weights_dir),
        "address": options.address,
    }


@dataclass(frozen=True)
class Beginning:
    """How a session begins.

    Attributes:
        kind: run or resume.
        accepted: what is not as on record, and was taken all the same.
        create: makes the record of a new study; called when nothing can refuse it any more.
        mirror: of a study at a URI, what takes its record there.
    """

    kind: str
    accepted: Sequence[str] = ()
    create: Callable[[], None] | None = None
    mirror: Mirror | None = None


def begin_session(study: Study, run: RunFolder, options: Options, begin: Beginning) -> None:
    """Put on record what the jobs from here on are computed with, and what was accepted."""
    facts = {**session_places(options), **machine.here(), "task_code": study.places.task_code}
    if begin.accepted:
        facts["accepted"] = list(begin.accepted)
    number = run.add_session(begin.kind, facts, held_now(study.spec) if begin.accepted else None)
    study.note({"event": "session", "number": number})
    if begin.mirror is not None:  # before the first job: by it workers know that they are right
        begin.mirror.flush()
        options.say(f"{options.store} holds the study; {run.path} is this driver's own copy")


def in_session(study: Study, run: RunFolder, execute: Callable[[Study], bool]) -> bool:
    """Run a study; however that ends, its session ends and its frames are written.

    Raises:
        ExecutionError: see executor.execute, or the frames could not be written.
    """
    try:
        done = execute(study)
    except BaseException:
        with contextlib.suppress(OSError, ExecutionError, UserError):  # what ended it is told
            _end_session(study, run)
        raise
    try:
        _end_session(study, run)
    except OSError as error:
        raise ExecutionError(
            f"the frames of {run.path} could not be written ({in_words(error)}); its logs are "
            f"whole: mend that, then `{shell('resnet-search', 'resume', run.path)}`"
        ) from error
    except StoreError as error:
        raise ExecutionError(
            f"{error}. All of it is in {run.path}: mend that, then "
            f"`{shell('resnet-search', 'resume', run.path)}` hands it in"
        ) from error
    return done


def _end_session(study: Study, run: RunFolder) -> None:
    run.end_session()
    try:
        study.write_views()
    finally:
        study.end_copies()  # last: it may wait for what other tools take
