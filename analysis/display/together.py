"""Several studies of a page beside one another: their cells joined, two of them compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from analysis.display.render import Table
from analysis.display.several_tables import diff_table, join_table
from search.record import Record

ALONE = ("only in the first", "only in the second")  # verdicts on cells that one alone has


def together(records: Sequence[Record]) -> list[Table]:
    """The tables of studies of one task: `join`, and of two that have cells in common `diff`.

    Their files are named studies-join and studies-diff, with a number where a page has several
    tasks with several studies each.

    Args:
        records: of a page; a task's only study has no such table, the same record twice neither.
    """
    tasks: dict[str, list[Record]] = {}
    for record in records:
        tasks.setdefault(record.study["task"], []).append(record)
    groups = [held for held in tasks.values() if len({r.digest for r in held}) == len(held) > 1]
    found = []
    for number, held in enumerate(groups, 1):
        name = "studies" if len(groups) == 1 else f"studies-{number}"
        beside = join_table(held)
        made = [replace(beside, data=beside.data.drop(columns="run"))]  # names are unique here
        if len(held) == 2:
            moved = diff_table(*held)
            first, second = (record.study["name"] for record in held)
            moved = replace(moved, title=f"From {first} to {second}: what moved")
            made += [moved] * (not moved.data["verdict"].isin(ALONE).all())
        found += [replace(table, study=name) for table in made]
    return found
