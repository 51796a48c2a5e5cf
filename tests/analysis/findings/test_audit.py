"""The late-bloomer audit: audited trials are counted as they were ended, and never selected."""

import pytest

from analysis.display import tables
from analysis.display.page import build
from analysis.findings.audit import audit_frame, searched
from analysis.findings.cells import cell_values
from analysis.findings.stats import share_interval
from search.cli.status import status_table
from search.record import load
from tests.analysis.make_run import Run, answer_sentences, cifar


@pytest.fixture
def record(tmp_path):
    """Four cells with winners at 0.6; three trials that were ended at 0.4 are audited."""
    run = cifar(tmp_path / "audited")
    for cell, end in ((0, 0.7), (1, 0.5), (2, None)):
        run.decide(f"{cell:02d}-001", cell, "select", 0.6)
        run.audit(f"{cell:02d}-002", cell, then=0.4, end=end)
    return load(run.folder)


def test_a_row_says_where_a_trial_was_ended_and_what_became_of_it(record):
    held = audit_frame(record).set_index("trial")
    assert list(held["ended_at"]) == [1, 1, 1]
    assert list(held["value_then"]) == [0.4, 0.4, 0.4]
    assert held.loc["00-002", "value_end"] == 0.7
    assert held.loc["00-002", "winner"] == 0.6
    assert held.loc["00-002", "lr"] == 0.001


def test_better_is_by_the_direction_of_the_metric_and_never_one_that_diverged(record):
    better = audit_frame(record).set_index("trial")["better"]
    assert list(better) == [True, False, False]


def test_a_lost_audit_is_neither_better_nor_worse(tmp_path):
    run = cifar(tmp_path / "s")
    run.decide("00-001", 0, "select", 0.6)
    run.decide("00-002", 0, "audit", 0.4, epoch=1)
    run.trial("00-002", 0, stage="audit", ending="failed")
    record = load(run.folder)
    assert audit_frame(record)["better"].isna().all()
    assert "1 of 1 audited trials are still to run, on their way or lost" in (
        tables.make(record, "audit").caption
    )


def test_the_caption_counts_a_diverged_audit_and_gives_the_share_with_its_interval(record):
    caption = tables.make(record, "audit").caption
    assert "Of 3 trials" in caption
    assert "1 ended better than their cell's winner, 1 diverged, which counts as worse" in caption
    low, high = share_interval(1, 3)
    assert f"33%, 95 % Wilson interval {low:.0%} to {high:.0%}" in caption


def test_an_audit_that_lost_is_told_in_the_row_of_its_cell_and_in_the_headline(record):
    values = {v.cell: v for v in cell_values(record) if v.metric == "accuracy"}
    assert "audit" in values[0].marks
    assert "audit" not in values[1].marks
    row = tables.make(record, "cells").display.iloc[0]
    assert "∇" in row["test accuracy ↑"]
    assert row["audited better"] == "1/1"
    said = "1 of 1 audited, 0.7000 against 0.6000 (val accuracy)"
    assert f"depth 18, from scratch ({said})" in " ".join(answer_sentences(record))
    assert f"depth 18, from scratch: {said}" in tables.make(record, "T1").caption


def test_the_table_of_configs_says_that_an_audited_trial_was_trained_in_full(record):
    shown = tables.make(record, "configs").display.set_index("trial")
    assert list(shown.loc["00-002", ["epochs", "status"]]) == ["1/9", "stopped"]
    assert shown.loc["00-002", "audit"] == "9/9: 0.7000, better than the winner"
    assert shown.loc["02-002", "audit"] == "9/9: diverged, not better"
    assert shown.loc["00-000", "audit"] == "—"


def test_status_and_report_count_audited_trials_alike(record):
    table = tables.search_frame(record)
    columns = {c.header: list(c.cells) for c in status_table(record).columns}
    for name in ("completed", "stopped", "diverged", "failed"):
        assert [int(n) for n in columns[name]] == list(table[name])
    assert columns["audited"] == ["1/1", "1/1", "1/1", "0"]


def test_an_audited_trial_counts_as_it_was_ended(record):
    row = searched(record).set_index("trial").loc["00-002"]
    assert (row["status"], row["epochs"], row["value"]) == ("stopped", 1, 0.4)
    table = tables.search_frame(record)
    assert list(table["stopped"]) == [1, 1, 1, 1]
    assert list(table["completed"]) == [2, 2, 2, 2]
    assert table.loc[0, "audit_epochs"] == 8
    assert table.loc[3, "audit_epochs"] == 0


def test_an_audited_trial_is_in_no_cell_value(record):
    for value in cell_values(record):
        assert not any(trial.endswith("-002") for trial in value.trials)


def test_a_study_without_audits_has_no_such_table(tmp_path):
    assert "audit" not in tables.keys(load(cifar(tmp_path / "plain").folder))


@pytest.mark.long
def test_the_report_shows_it(record, tmp_path):
    page = build([record.run], tmp_path / "report").read_text(encoding="utf-8")
    assert "Late-bloomer audit" in page
    assert (tmp_path / "report" / "tables" / "audited-audit.csv").is_file()


def test_wilson_intervals_known_from_tables():
    """1 of 10: 0.018 to 0.404 (Brown, Cai and DasGupta 2001)."""
    low, high = share_interval(1, 10)
    assert (round(low, 3), round(high, 3)) == (0.018, 0.404)


def test_audits_that_ended_before_a_winner_was_selected_are_not_called_on_their_way(tmp_path):
    run = Run(tmp_path / "s")
    run.trial("00-001", 0, value=0.4, epochs=1)
    run.audit("00-001", 0, 0.4, 0.7)
    run.trial("00-002", 0, value=0.4, epochs=1)
    run.audit("00-002", 0, 0.4, None)
    caption = tables.make(load(tmp_path / "s"), "audit").caption
    assert "on their way" not in caption
    assert "2 of 2 audited trials came to an end in a cell that has no selected winner" in caption


def test_an_audit_that_has_not_begun_is_not_said_to_be_trained_on(tmp_path):
    run = Run(tmp_path / "s")
    run.trial("00-000", value=0.6, lr=0.1)
    run.decide("00-000", 0, "select", 0.6)
    run.trial("00-001", value=0.4, epochs=1, verdict="stop", lr=0.01)
    run.decide("00-001", 0, "audit", 0.4, epoch=1)
    record = load(tmp_path / "s")
    reason = searched(record).set_index("trial").loc["00-001", "reason"]
    assert "to be trained on to see whether that was right" in reason
    caption = tables.make(record, "audit").caption
    assert "1 of 1 audited trials are still to run, on their way or lost" in caption
    assert "trained on outside the selection, or still to be" in (
        tables.make(record, "search").caption
    )
    run.trial("00-001", value=0.5, stage="audit", lr=0.01)
    run.decide("00-001", 0, "audited", 0.5)
    reason = searched(load(tmp_path / "s")).set_index("trial").loc["00-001", "reason"]
    assert reason.endswith("at epoch 1, trained on to see whether that was right")
