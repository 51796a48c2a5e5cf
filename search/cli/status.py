"""`resnet-search status`: how far a study is, as a table of a terminal."""

from __future__ import annotations

from rich.table import Table

from search.record import Record
from search.record.status import epochs_of, status_rows, title_of


def status_table(held: Record) -> Table:
    """One row a cell; see `status_rows`."""
    head, rows = status_rows(held)
    table = Table(
        title=title_of(held, epochs_of(held)), title_justify="left", box=None, pad_edge=False
    )
    for number, name in enumerate(head):
        table.add_column(name, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    return table
