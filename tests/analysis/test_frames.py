"""Frames for a notebook: what is in a row, several studies in one, other readers of the files."""

from __future__ import annotations

from pathlib import Path

import duckdb
import nbformat
import pandas as pd
import polars
import pytest
from make_run import Run, cifar

from analysis import frames
from analysis.display.render import render
from analysis.findings.cells import cell_values
from search.record import UserError, load
from tests.analysis.notebook import NOTEBOOK, executed

SHIPPED = Path(__file__).parents[2] / "results"
PLAIN, CROWD = SHIPPED / "cifar10-plain", SHIPPED / "crowd-a-64px"
ALL = [frames.trials, frames.curves, frames.cells, frames.seeds, frames.images, frames.decisions]


@pytest.mark.parametrize("make", ALL)
def test_a_folder_and_its_record_give_the_same_rows_with_their_cells(make):
    held = make(PLAIN)
    pd.testing.assert_frame_equal(held, make(load(PLAIN)))
    assert {"study", "cell", "label", "depth"} <= {*held.columns}
    assert set(held["study"]) == {"cifar10-plain"} and len(held)
    depths = dict(enumerate(at["depth"] for at in load(PLAIN).study["cells"]))
    assert (held["depth"] == held["cell"].map(depths)).all()
    assert set(held["label"]) <= {"depth 18", "depth 34", "depth 50"}


@pytest.mark.parametrize("make", ALL)
def test_several_studies_share_a_frame_and_each_says_what_held_in_it(make):
    """`pretrained` is a cell's in one and fixed in the other; both rows have it."""
    one, two, both = make(PLAIN), make(CROWD), make(PLAIN, CROWD)
    assert len(both) == len(one) + len(two)
    mine = both[both["study"] == "cifar10-plain"]
    assert not mine["pretrained"].astype(bool).any()
    assert set(both.loc[both["study"] == "crowd-a-64px", "pretrained"]) == {False, True}


def test_wide_curves_hold_what_long_ones_do():
    long, wide = frames.curves(PLAIN), frames.curves(PLAIN, wide=True)
    assert not wide.duplicated(["trial", "epoch"]).any()
    back = wide.melt(["trial", "epoch"], [*long["name"].unique()], "name").dropna()
    at = ["trial", "epoch", "name"]
    held = long.astype({"trial": str, "name": str}).set_index(at)["value"].dropna().sort_index()
    pd.testing.assert_series_equal(back.set_index(at)["value"].sort_index(), held)
    assert wide["val_accuracy"].between(0, 1).all()


def test_seeds_are_the_values_that_cells_average():
    held = frames.seeds(PLAIN).groupby(["cell", "metric"])["value"].mean()
    values = [v for v in cell_values(load(PLAIN)) if v.status == "complete"]
    assert len(held) == len(values)
    for v in values:
        assert held[v.cell, v.metric] == pytest.approx(v.mean)
    scores = frames.trials(PLAIN).set_index("trial")
    for row in frames.seeds(PLAIN).itertuples():
        assert scores.loc[row.trial, f"test_{row.metric}"] == row.value
        assert scores.loc[row.trial, "seed"] == row.seed


def test_errors_of_images_give_the_scores():
    classes = frames.images(PLAIN).groupby("trial")["error"].mean()
    counts = frames.images(CROWD)["error"].abs().groupby(frames.images(CROWD)["trial"]).mean()
    for run, held, metric in ((PLAIN, 1 - classes, "accuracy"), (CROWD, counts, "mae")):
        scores = frames.trials(run).set_index("trial")[f"test_{metric}"].dropna()
        assert held.to_dict() == pytest.approx(scores.to_dict(), rel=1e-5)


def test_an_unfinished_cell_has_rows_of_trials_and_none_of_seeds(tmp_path):
    run = Run(tmp_path / "s")
    run.trial("00-000", value=0.5, epochs=3, ending="running")
    assert frames.seeds(run.folder).empty and list(frames.seeds(run.folder)["value"]) == []
    assert frames.trials(run.folder)["status"].tolist() == ["running"]
    assert frames.cells(run.folder)["status"].tolist() == ["partial", "partial"]


def test_a_study_without_a_trial_gives_empty_frames(tmp_path):
    run = Run(tmp_path / "s")
    for make in ALL:
        if make is not frames.cells:
            assert make(run.folder).empty
    assert frames.curves(run.folder, wide=True).empty


def test_two_runs_of_one_name_and_no_run_are_refused():
    with pytest.raises(UserError, match="two runs are of a study cifar10-plain"):
        frames.trials(PLAIN, load(PLAIN))
    with pytest.raises(UserError, match="no run is given"):
        frames.trials()
    with pytest.raises(UserError, match="one by one"):
        frames.trials([PLAIN])
    with pytest.raises(UserError, match="is no run folder"):
        frames.curves("nowhere")


def test_a_table_is_shown_by_a_notebook_and_unknown_ones_are_named():
    made = frames.table(PLAIN, "cells")
    assert "<table" in made._repr_html_() and "0.7011" in made._repr_html_()
    with pytest.raises(UserError, match="has no table T9; it has"):
        frames.table(PLAIN, "T9")


def test_a_record_is_shown_by_a_notebook_with_its_name_escaped(tmp_path):
    run = cifar(tmp_path / "s", name="a<b")
    shown = load(run.folder)._repr_html_()
    assert "a&lt;b" in shown and "a<b" not in shown and "depth 34, fine-tuned" in shown


def test_records_and_tables_are_short_at_a_prompt():
    held = load(PLAIN)
    assert repr(held) == f"Record of study cifar10-plain ({PLAIN}): 3 cells, 33 trials"
    table = frames.table(held, "T1")
    assert repr(table) == render(table, "md") and "0.7011" in repr(table)


def test_counts_of_decisions_are_whole_numbers_where_some_are_missing():
    held = frames.decisions(PLAIN)
    assert held["rank"].isna().any() and held["rank"].notna().any()
    assert (held[["epoch", "rank", "n", "goes_on"]].dtypes == "Int64").all()


@pytest.mark.parametrize("name", ["trials", "curves", "per_image"])
def test_polars_and_duckdb_read_the_files_as_pandas_does(name):
    path = PLAIN / f"{name}.parquet"
    ours = getattr(load(PLAIN), name)
    theirs = polars.read_parquet(path)
    assert {*theirs.columns} <= {*ours.columns} and theirs.height == len(ours)
    column = {"trials": "value", "curves": "value", "per_image": "prediction"}[name]
    assert theirs[column].drop_nans().drop_nulls().sum() == pytest.approx(ours[column].sum())
    (found,) = duckdb.sql(f"select count(*), count(distinct trial) from '{path}'").fetchall()
    assert found == (len(ours), ours["trial"].nunique())


def shown(cell):
    """What a cell shows, blanks that end a line aside; of a picture that it is there."""
    return [
        {
            form: [line.rstrip() for line in text.splitlines()] if form.startswith("text/") else ""
            for form, text in (output.get("data") or {output["output_type"]: str(output)}).items()
        }
        for output in cell.get("outputs", [])
    ]


@pytest.mark.long
@pytest.mark.timeout(120)
def test_the_notebook_shows_what_it_shows_when_it_is_run_again():
    held, again = nbformat.read(NOTEBOOK, as_version=4), executed()
    nbformat.validate(held)
    for cell, new in zip(held["cells"], again["cells"], strict=True):
        assert shown(new) == shown(cell), cell["source"]
        assert new.get("execution_count") == cell.get("execution_count")
    code = "".join(cell["source"] for cell in held["cells"] if cell["cell_type"] == "code")
    assert not [name for name in frames.__all__ if f"frames.{name}(" not in code]
    pictures = [form for cell in held["cells"] for output in shown(cell) for form in output]
    assert pictures.count("image/png") >= 4 and NOTEBOOK.stat().st_size < 300_000
    assert {key for cell in held["cells"] for key in cell["metadata"]} == set()  # no times
