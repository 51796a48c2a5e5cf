"""The late-bloomer audit: audited trials are counted as they were ended, and never selected."""

import pytest

from analysis.display import tables
from analysis.display.page import build
from analysis.findings.audit import audit_frame, searched
from analysis.findings.cells import cell_values
from analysis.findings.stats import share_interval
from search.record import load
from tests.analysis.make_run import cifar


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


def test_better_is_by_the_direction_of_the_metric_and_unknown_for_a_lost_trial(record):
    better = audit_frame(record).set_index("trial")["better"]
    assert better["00-002"] is True
    assert better["01-002"] is False
    assert better.isna()["02-002"]


def test_the_caption_gives_the_share_with_its_interval(record):
    caption = tables.make(record, "audit").caption
    assert "Of 2 trials" in caption
    assert "1 ended better" in caption
    assert "50%" in caption
    low, high = share_interval(1, 2)
    assert f"{low:.0%} to {high:.0%}" in caption


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
