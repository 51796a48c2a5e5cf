"""The journal of a record that is loaded, read once for all who count in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from search.record.journal import Event, read_lines
from search.record.once import once
from search.record.stored import JOURNAL

if TYPE_CHECKING:
    from search.record.read import Record


@once
def events_of(record: Record) -> list[Event]:
    """Its events, as far as it was read; `load` has checked them."""
    return read_lines(record.run / JOURNAL, record.sizes.get(JOURNAL, 0))
