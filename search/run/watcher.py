"""Who sees what happens in a study: what it is told, as it happens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from search import record
from search.record.journal import Event
from search.spec.plan import Job


class Watcher(Protocol):
    """Who wants to see what happens as it happens."""

    def restored(self, held: record.Record) -> None:
        """The study goes on from this record."""

    def asked(self, job: Job, config: Mapping[str, Any], decisions: list[Event]) -> None:
        """A job starts, perhaps by an early promotion."""

    def reported(self, job: Job, row: Mapping[str, Any]) -> None:
        """An epoch is over."""

    def told(self, job: Job, told: Mapping[str, Any], decisions: list[Event]) -> None:
        """A job is over."""

    def noted(self, text: str) -> None:
        """Something happened that is neither."""
