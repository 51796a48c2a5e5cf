"""Which first rung a record asks for: by hand, by simulation, and where it cannot be said."""

from __future__ import annotations

import json
import tomllib

import numpy as np
import pytest
from make_run import Run

from analysis.cli import main as report
from analysis.display import tables
from analysis.display.first_rung_table import told
from analysis.display.next_study import next_study
from analysis.findings.first_rung import (
    Cell,
    _by_bootstrap,
    _by_influence,
    _kendall,
    _signs,
    first_rung,
    ranked_then,
)
from search.record import epochs_of_cell, load, plan_from

TEXT = """name = "s"
[budget]
trials_per_cell = 4
max_epochs = 9
grace_epochs = 1
[confirm]
seeds = [1, 2]
"""


def study(folder, curves, seeds=(0.70, 0.71), task="cifar10", **changed):
    """Configs of one cell, each trained in full along its curve of the watched metric."""
    changed = {"text": TEXT, "confirm_seeds": [1, 2], **changed}
    run = Run(folder, task, **changed)
    for number, curve in enumerate(curves):
        run.trial(f"00-{number:03d}", value=curve[-1], epochs=len(curve), lr=0.1 * (number + 1))
        rewrite(run, f"00-{number:03d}", curve)
    named = ("loss", "accuracy") if task == "cifar10" else ("rmse", "mae")
    run.confirm(0, [dict(zip(named, (1.0, v), strict=True)) for v in seeds], lr=0.1)
    return load(run.folder)


def rewrite(run, trial, curve):
    path = run.folder / "epochs.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if line["trial"] == trial:
            line["row"][f"val_{run.study['metric']}"] = curve[line["row"]["epoch"] - 1]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def bloomer():
    """The best in full is the last until epoch 5, the first from then on."""
    early = [[0.1 * n + 0.02 * e for e in range(1, 10)] for n in (1, 2, 3)]
    late = [0.01 * e for e in range(1, 5)] + [0.5 + 0.05 * e for e in range(5)]
    return [*early, late]


def test_ranks_and_losses_by_hand(tmp_path):
    record = study(tmp_path / "s", bloomer())
    held = ranked_then(record).set_index("epoch")
    # of six pairs the late one is wrong in three
    assert held.loc[1, "tau"] == pytest.approx(0) and held.loc[5, "tau"] == pytest.approx(1)
    assert held.loc[1, "worst"] == pytest.approx(0.7 - 0.48) and held.loc[5, "worst"] == 0
    assert held.loc[1, "kept"] == 0 and held.loc[5, "kept"] == 1
    assert held.loc[[1, 3], "rung"].all() and not held.loc[2, "rung"]
    found = first_rung(record)
    assert found.epoch == 5 and found.noise == pytest.approx(0.01 / np.sqrt(2))


def test_what_a_search_of_a_cell_costs_by_hand(tmp_path):
    """Nine configs, eta 3: 9 to epoch 1, 3 to 3, 1 to 9; with a first rung at 2: 9, 3 to 6, 1."""
    spec = {"budget": {"trials_per_cell": 9, "reduction_factor": 3.0}}
    record = study(tmp_path / "s", bloomer(), spec=spec)
    assert epochs_of_cell(plan_from(record.study, 1)) == 9 * 1 + 3 * 2 + 1 * 6
    assert epochs_of_cell(plan_from(record.study, 2)) == 9 * 2 + 3 * 4 + 1 * 3


def test_a_loss_within_what_seeds_differ_by_does_not_count(tmp_path):
    assert first_rung(study(tmp_path / "s", bloomer(), seeds=(0.3, 0.9))).epoch == 1


def test_a_metric_that_should_be_low_is_turned(tmp_path):
    curves = [[1 - v for v in curve] for curve in bloomer()]
    record = study(tmp_path / "s", curves, task="shanghaitech")
    assert first_rung(record).epoch == 5


def test_without_configs_or_seeds_enough_it_says_so(tmp_path, capsys):
    few = study(tmp_path / "few", bloomer()[:3])
    assert ranked_then(few).empty and "not enough data: no cell has 4" in told(few)
    one = study(tmp_path / "one", bloomer(), seeds=(0.7,), confirm_seeds=[1])
    assert first_rung(one).epoch is None and "without two seeds" in told(one)
    out = tmp_path / "n.toml"
    assert report(["next", str(one.run), "--write", str(out)]) == 2 and not out.exists()
    assert "nothing is written" in capsys.readouterr().err


def test_configs_that_ended_early_are_told_to_be_left_out(tmp_path):
    run = Run(tmp_path / "s", text=TEXT, confirm_seeds=[1, 2])
    for number, curve in enumerate(bloomer()):
        run.trial(f"00-{number:03d}", value=curve[-1], epochs=9, lr=0.1)
    run.trial("00-009", value=0.1, epochs=1, verdict="stop", lr=0.3)
    record = load(run.folder)
    assert "Told by 4 of 5 configs" in told(record) and "nobody knows" in told(record)


def test_the_next_study_has_that_rung_and_a_name_of_its_own_and_replaces_nothing(tmp_path, capsys):
    record = study(tmp_path / "s", bloomer())
    out = tmp_path / "next.toml"
    assert report(["next", str(record.run), "--write", str(out)]) == 0
    text = out.read_text()
    assert 'name = "s-next"' in text and "grace_epochs = 5" in text
    assert text.count("grace_epochs") == 1 and "seeds = [1, 2]" in text
    assert report(["next", str(record.run), "--write", str(out)]) == 2
    assert "is there already" in capsys.readouterr().err
    full = study(
        tmp_path / "f", bloomer(), text=f'scheduler = "none"\n{TEXT}', overrides=["a.b=1"]
    )
    assert next_study(full)[0].startswith(
        '# as f was begun: --set a.b=1\nscheduler = "cell-promote"\n'
    )
    bare = study(tmp_path / "b", bloomer(), text=TEXT.replace("grace_epochs = 1\n", ""))
    assert "[budget]\ngrace_epochs = 5" in next_study(bare)[0]


def written(tmp_path, text, **changed):
    """Exit status of `next --write`, and the file that it wrote; None where it wrote none."""
    out, run = tmp_path / "next.toml", tmp_path / "s"
    status = report(["next", str(study(run, bloomer(), text=text, **changed).run), *to(out)])
    assert len([*tmp_path.iterdir()]) == 1 + out.exists()  # no half of a file beside it
    return status, out.read_text() if out.exists() else None


def to(out):
    return ["--write", str(out)]


NESTED = """name = "s"
rows = [
  [1, 2],
  [3]
]
about = '''
grace_epochs = 7
[budget]
'''
[task]
name = "other"
[ budget ]
trials_per_cell = 4
grid = [
  [1],
]
grace_epochs = 1
"""


@pytest.mark.parametrize(
    "text",
    [
        TEXT.replace("grace_epochs", "  grace_epochs"),
        TEXT.replace("grace_epochs", "\t'grace_epochs'"),
        'name = "s"\n[budget]\nmax_epochs = 9\ngrace_epochs = 1',
        'name = "s"\n[budget]',
        f"scheduler = 'none'\n{TEXT}",
        f"  scheduler='none' # all\n{TEXT}",
        TEXT.replace("[budget]", "  [ budget ]  # mine"),
        NESTED,
        'name = "s"\nbudget.max_epochs = 9\nbudget.grace_epochs = 1\n[confirm]\nseeds = [1, 2]\n',
        'name = "s"\nbudget.max_epochs = 9\n[confirm]\nseeds = [1, 2]\n',
        TEXT.replace('name = "s"\n', "x = nan\n"),
    ],
)
def test_whatever_way_the_study_is_written_in_all_else_stays_as_it_was(tmp_path, text):
    status, found = written(tmp_path, text)
    expected, held = tomllib.loads(text), tomllib.loads(found)
    expected["name"] = "s-next"
    expected["budget"]["grace_epochs"] = 5
    if "scheduler" in expected:
        expected["scheduler"] = "cell-promote"
    plain = [json.dumps(one, sort_keys=True) for one in (held, expected)]  # NaN is itself
    assert status == 0 and plain[0] == plain[1]


@pytest.mark.parametrize(
    "text",
    [
        'name = "s"\nbudget = {max_epochs = 9, grace_epochs = 1}\n',
        TEXT.replace("grace_epochs = 1", "grace_epochs = [\n1\n]"),
        'name = "s"\n',
        "name = ",
    ],
)
def test_a_study_file_that_cannot_be_changed_so_is_refused(tmp_path, text, capsys):
    assert written(tmp_path, text) == (2, None)
    said = capsys.readouterr().err
    assert said.startswith("resnet-report: study s: ") and "nothing is written" in said
    assert len(said.splitlines()) == 1


def test_what_the_study_was_begun_with_of_its_budget_and_name_is_in_the_next(tmp_path, capsys):
    text = TEXT.replace("max_epochs = 9", "max_epochs = 200")
    given = ["budget.max_epochs=9", "name=s", "scheduler=none", "budget.audit_share=0.5"]
    status, found = written(tmp_path, text, overrides=[*given, "cells.depth=[18]"])
    held = tomllib.loads(found)
    assert (status, held["name"], held["scheduler"]) == (0, "s-next", "cell-promote")
    assert held["budget"] == {
        "trials_per_cell": 4,
        "max_epochs": 9,
        "grace_epochs": 5,
        "audit_share": 0.5,
    }
    assert found.startswith("# as s was begun: --set cells.depth=[18]\n")
    assert "next.toml; run it as that study was begun: --set cells.depth=[18]" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize("given", ["budget={max_epochs = 9}", "budget.a.b=1", "x=[1,\n2]"])
def test_what_no_line_can_hold_of_what_it_was_begun_with_is_refused(tmp_path, given, capsys):
    assert written(tmp_path, TEXT, overrides=[given]) == (2, None)
    said = " ".join(capsys.readouterr().err.split())
    assert f"--set {' '.join(given.split())}" in said and "nothing is written" in said


@pytest.mark.parametrize("full", [0, 3])
def test_without_configs_enough_nothing_is_written_and_that_is_an_error(tmp_path, full, capsys):
    run = study(tmp_path / "few", bloomer()[:full]).run
    out = tmp_path / "n.toml"
    assert report(["next", str(run)]) == 0 and "not enough data" in capsys.readouterr().out
    assert report(["next", str(run), *to(out)]) == 2 and not out.exists()
    said = capsys.readouterr().err
    assert "no cell has 4 configs" in said and "nothing is written" in said


@pytest.mark.long
@pytest.mark.parametrize("true", [0.0, 0.5, 0.9])
def test_the_interval_of_the_rank_correlation_holds_what_it_says(true):
    """Three cells of eight configs, normal with correlation r: tau is 2/pi asin(r)."""
    rng, held, n = np.random.default_rng(1), 0, 150
    tau = 2 / np.pi * np.arcsin(true)
    for _ in range(n):
        cells = []
        for _ in range(3):
            end = rng.normal(size=8)
            then = true * end + np.sqrt(1 - true**2) * rng.normal(size=8)
            cells.append(Cell(np.stack([then, end], axis=1), 8))
        _, low, high = _kendall(cells, 1, rng)
        held += low <= tau <= high
    assert 0.86 <= held / n <= 1


@pytest.mark.parametrize("true", [0.0, 0.6, 0.95])
def test_of_many_configs_the_interval_is_the_bootstraps_without_drawing(true):
    rng = np.random.default_rng(2)
    signs = []
    for n in (150, 250):
        end = rng.normal(size=n)
        then = (true * end + np.sqrt(1 - true**2) * rng.normal(size=n)).round(1)  # with ties
        signs.append(_signs(Cell(np.stack([then, end], axis=1), n), 1))
    drawn, made = _by_bootstrap(signs, rng), _by_influence(signs)
    wide = drawn[1] - drawn[0]
    assert made == pytest.approx(drawn, abs=0.1 * wide)
    of_both = [Cell(np.stack([then, end], axis=1), 250)] * 2
    assert _kendall(of_both, 1, rng)[1:] == _by_influence([_signs(of_both[0], 1)] * 2)


def test_the_list_of_tables_reads_no_curves_where_too_few_configs_are_in_full(tmp_path):
    """They are most of a large record, and no other table asks for them."""
    few, many = study(tmp_path / "few", bloomer()[:3]), study(tmp_path / "many", bloomer())
    few, many = load(few.run), load(many.run)
    assert "firstrung" not in tables.keys(few) and "curves" not in vars(few)
    assert "firstrung" in tables.keys(many) and "curves" in vars(many)
