"""What `explain` shows beside a verdict is what the verdict is made of."""

from __future__ import annotations

import json

import numpy as np
import pytest
from make_run import Run, answer_sentences

from analysis.display import tables
from analysis.display.explained import explained
from analysis.findings.cells import cell_values
from analysis.findings.explain import explain
from search.record import load

PAIRED = {"fixed": {}, "budget": {"trials_per_cell": 4}, "confirm": {"paired": True}}
TRUTH = np.repeat(np.arange(10.0), 100)


def two_cells(folder, *means, seeds=1):
    """Two cells of which the results of each image are on record; their seeds are paired."""
    cells = [{"depth": 18}, {"depth": 34}]
    run = Run(folder, cells=cells, confirm_seeds=list(range(1, seeds + 1)), spec=PAIRED)
    for cell, mean in enumerate(means):
        tests = [round(mean + (seed % 3) * (1 + cell) / 100, 3) for seed in range(seeds)]
        run.confirm(cell, [{"loss": 1.0, "accuracy": value} for value in tests])
        for seed, accuracy in enumerate(tests, 1):
            wrong = np.arange(1000) >= round(accuracy * 1000)
            run.images(f"{cell:02d}-seed{seed}", TRUTH, np.where(wrong, (TRUTH + 1) % 10, TRUTH))
    return load(run.folder)


def standing(told):
    (line,) = (line.strip() for line in told.splitlines() if line.startswith("  behind "))
    return line


@pytest.mark.filterwarnings("ignore::search.record.RecordWarning")  # its asks score nothing
def test_of_one_seed_no_interval_stands_beside_a_verdict_that_has_none(tmp_path):
    """That over test images leaves out 0 by far, and decides nothing: other trainings would."""
    record = two_cells(tmp_path / "s", 0.5, 0.8)
    value = next(v for v in cell_values(record) if v.behind is not None)
    assert value.behind.images.low > 0.2 and not value.behind.both.known
    assert standing(explained(record, 0)) == (
        "behind depth 34 by 0.3000: NOT decided; with one seed a cell a lead decides nothing"
    )
    (answer,) = answer_sentences(record)
    assert "behind by 0.3000; with one seed a cell a lead decides nothing" in answer
    caption = tables.make(record, "cells").caption
    assert "not at all where a cell has one seed" in caption
    assert "and test images (paired bootstrap) together" not in caption


@pytest.mark.filterwarnings("ignore::search.record.RecordWarning")  # its asks score nothing
def test_what_decides_is_named_and_shown(tmp_path):
    record = two_cells(tmp_path / "s", 0.5, 0.8, seeds=3)
    by = next(v for v in cell_values(record) if v.behind is not None).behind
    assert by.seeds.kind == "paired" and by.says == "better"
    told = standing(explained(record, 0))
    assert f"paired seeds {by.seeds.low:.4f} to {by.seeds.high:.4f}" in told
    assert f"both {by.both.low:.4f} to {by.both.high:.4f}; all leads" in told
    assert told.endswith(": decided")
    assert "decided against all others" in explained(record, 1)


def test_the_same_difference_at_every_seed_is_not_called_seeds_that_do_not_differ(tmp_path):
    run = Run(tmp_path / "s", cells=[{"depth": 18}, {"depth": 34}], spec=PAIRED)
    for cell, mean in enumerate((0.5, 0.75)):
        run.confirm(cell, [{"loss": 1.0, "accuracy": mean + s / 8} for s in (-1, 0, 1)])
    (answer,) = answer_sentences(load(run.folder))
    assert "; with the same difference at every seed a lead decides nothing." in answer


@pytest.mark.parametrize(
    ("rmse", "advice"),
    [
        ((40.0, 52.0), "lower values of lr: 0.01 was the end of what was tried"),
        ((40.0, 96.0), "other values of lr, lower or higher: 0.01 was the lowest tried"),
    ],
)
def test_too_few_seeds_are_no_evidence_that_an_end_guides_nowhere(tmp_path, rmse, advice):
    """Of two seeds no constant is shown to be beaten; it is another thing if one is not better."""
    run = Run(tmp_path / "s", "shanghaitech", confirm_seeds=[1, 2])
    for number, lr in enumerate((0.01, 0.1)):
        run.trial(f"00-{number:03d}", value=20.0 + number, lr=lr)
    run.confirm(0, [{"mae": 20.0 + s / 9, "rmse": x} for s, x in enumerate(rmse)], lr=0.01)
    told = explained(load(run.folder), 0)
    assert "rmse not shown to beat" in told or "rmse worse than" in told
    assert f"What would most likely move it\n  {advice}" in told.replace("\n\n", "\n")


def fitted(folder, train, val, **study):
    """A cell of a seed each pair, with these metrics of training and validation."""
    run = Run(folder, confirm_seeds=list(range(1, len(train) + 1)), **study)
    main = run.study["metric"]
    other = next(m for m in run.study["metrics"] if m != main)
    run.confirm(0, [{main: value, other: 1.0} for value in val], lr=0.1)
    path = folder / "epochs.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        seed = int(line["trial"][-1]) - 1
        line["row"] |= {f"train_{main}": train[seed], f"val_{main}": val[seed]}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    record = load(folder)
    return explain(record, 0).fit, explained(record, 0).partition("\nFit\n")[2].split("\n\n")[0]


@pytest.mark.parametrize(
    ("train", "val", "says", "words"),
    [
        ((0.9, 0.91, 0.92), (0.6, 0.61, 0.63), "overfitted", "val is worse by more than that"),
        ((0.6, 0.61, 0.62), (0.5, 0.52, 0.51), "underfitted", "val is worse by less than that"),
        ((0.6, 0.61, 0.62), (0.59, 0.63, 0.60), "underfitted", "is not shown to be worse than"),
        ((0.6, 0.61, 0.62), (0.7, 0.71, 0.73), "underfitted", "is no worse than training"),
        ((0.6, 0.7, 0.8), (0.5, 0.3, 0.1), "unknown", ""),  # of the three each says another thing
        ((0.9, 0.8), (0.6, 0.7), "unknown", ""),
        ((0.6, 0.6), (0.5, 0.5), "unknown", ""),  # no spread
    ],
)
def test_fit_concludes_what_its_interval_over_seeds_says(tmp_path, train, val, says, words):
    fit, told = fitted(tmp_path / "s", train, val)
    assert fit.says == says
    assert words in told and ("fitted" in told) == (says != "unknown")
    if fit.gap_interval.known:
        assert f"(95 % over seeds {fit.gap_interval.low:.4f} to " in told


@pytest.mark.parametrize(("head", "compares"), [("fc", False), ("conv", True)])
def test_a_gap_is_given_of_cells_whose_training_values_compare_and_of_no_others(
    tmp_path, head, compares
):
    """By what the task says of them: of crops under one head, of whole images under another."""
    settings = {"part": "B", "depth": 18, "head": head}
    crowd = {"task": "shanghaitech", "settings": settings}
    _, told = fitted(tmp_path / "s", (20.0, 21.0), (30.0, 31.5), **crowd)
    assert ("gap 10.2" in told) == compares
    assert ("do not compare" in told) == (not compares)
