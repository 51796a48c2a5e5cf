"""A name that is not there is told the nearest that is."""

from __future__ import annotations

import pytest
from make_run import Run

from analysis.display import tables
from analysis.findings.contrasts import Contrast, contrasts
from analysis.findings.explain import cell_number
from search.record import UserError, load


def test_tables_columns_and_cells_that_are_not_there_are_told_the_nearest(tmp_path):
    run = Run(tmp_path / "s", cells=[{"depth": 18}, {"depth": 34}])
    run.confirm(0, [{"loss": 1.0, "accuracy": 0.5 + s / 9} for s in (0, 1, 2)])
    record = load(run.folder)
    for work, near in (
        (lambda: tables.named(record, "setled"), "settled"),
        (lambda: tables.make(record, "cells").only(["deph"]), "depth"),
        (lambda: cell_number(record, "deph=18"), "depth"),
        (lambda: contrasts(record, [Contrast("deph", 18)]), "depth"),
    ):
        with pytest.raises(UserError, match=f"did you mean {near}\\?"):
            work()
