"""What is worked out of a record once, and then known: a record is read, never changed."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from search.record.read import Record

Found = TypeVar("Found")


def once(work: Callable[[Record], Found]) -> Callable[[Record], Found]:
    """A function of a record that works at its first call, and forgets with the record.

    Whoever calls it gets the same object each time, and has to leave it as it is.
    """
    known: dict[int, tuple[weakref.ref[Record], Found]] = {}

    @wraps(work)
    def remembered(record: Record) -> Found:
        key = id(record)
        held = known.get(key)
        if held is None or held[0]() is not record:

            def forget(_: weakref.ref[Record], key: int = key) -> Any:
                known.pop(key, None)

            held = known[key] = (weakref.ref(record, forget), work(record))
        return held[1]

    return remembered
