"""What `status` and the live page say is best while nothing is trained in full."""

from __future__ import annotations

from make_run import Run

from search.record import load
from search.record.status import best_so_far, status_rows


def test_status_and_the_page_tell_the_best_so_far_until_one_is_trained_in_full(tmp_path):
    run = Run(tmp_path / "s", cells=[{"depth": 18}, {"depth": 34}])
    run.trial("00-000", 0, value=0.5, epochs=1, ending="value", lr=0.1)
    run.trial("00-001", 0, value=0.6, epochs=3, ending="value", lr=0.2)
    run.trial("01-000", 1, value=0.7, epochs=9, lr=0.1)
    run.trial("01-001", 1, value=0.8, epochs=3, verdict="stop", lr=0.2)
    record = load(run.folder)
    head, rows = status_rows(record)
    assert head[-1] == "best val_accuracy"
    assert [row[-1] for row in rows] == ["0.6 so far, at epoch 3", "0.7"]
    assert [(b.value, b.epoch, b.trial) for b in best_so_far(record)] == [
        (0.6, 3, "00-001"), (0.8, 3, "01-001"),
    ]  # fmt: skip


def test_of_a_study_of_seeds_alone_the_best_so_far_is_theirs(tmp_path):
    run = Run(tmp_path / "s", cells=[{"depth": 18}, {"depth": 34}], space_keys=[])
    run.trial("00-seed1", 0, value=0.4, epochs=3, stage="confirm", seed=1, ending="running")
    run.trial("00-seed2", 0, value=0.5, epochs=9, stage="confirm", seed=2)
    found = best_so_far(load(run.folder))
    assert found[0] is not None and found[0].value == 0.5 and found[1] is None
