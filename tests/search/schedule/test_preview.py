"""`preview` and `simulate`: what they say of a study, by hand."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from search.cli.main import main
from search.schedule.preview import preview
from search.spec.study_spec import parse_spec

TEXT = """
name = "mine"
task = "cifar10"
[cells]
depth = [18, 34]
[space.lr]
low = 0.02
high = 0.4
[budget]
trials_per_cell = 9
max_epochs = 81
grace_epochs = 9
audit_share = 0.0
[confirm]
seeds = [1, 2]
"""


def spec(text=TEXT):
    return parse_spec(tomllib.loads(text), "mine.toml")


def test_a_preview_counts_trials_and_epochs():
    held = preview(spec(), workers=4)
    assert held.rungs == (9, 27, 81)
    assert held.reaching == (9, 3, 1)
    assert held.reaching_at_most == (9, 6, 4)
    assert held.search_epochs == (2 * (81 + 54 + 54), 2 * (81 + 108 + 216))
    assert held.confirm_epochs == 2 * 2 * 81
    assert held.full_epochs == 2 * 9 * 81
    assert held.share == (189 / 729, 405 / 729)
    assert held.audit_epochs == (0, 0)


def test_wall_time_is_bounded_by_the_work_and_the_longest_chain():
    one, many = preview(spec(), 1), preview(spec(), 1000)
    total = one.search_epochs[0] + one.confirm_epochs
    assert one.wall_epochs[0] == total
    assert many.wall_epochs[0] == 162  # a winner's search, then a seed
    assert preview(spec(), 4, epoch_seconds=36).wall_hours[0] == pytest.approx(
        preview(spec(), 4).wall_epochs[0] / 100
    )


def test_a_preview_of_arrays_counts_that_members_wait_for_one_another():
    """At most as long a chain, at the pace of all; what is to be done stays as it was."""
    single, array = preview(spec(), 4), preview(spec(TEXT + "[resources]\narray = 3\n"), 4)
    assert array.wall_epochs[0] == single.wall_epochs[0]
    assert array.wall_epochs[1] > single.wall_epochs[1]
    one = preview(spec(TEXT + "[resources]\narray = 3\n"), 1)
    assert one.wall_epochs == preview(spec(), 1).wall_epochs


@pytest.mark.parametrize("workers", [1, 3, 8, 100])
def test_simulated_wall_time_lies_within_the_previewed_bounds(workers):
    import numpy as np

    from search.schedule.curves import synthetic_curves
    from search.schedule.rules import cell_promote
    from search.schedule.scheduler import Scheduler
    from search.schedule.simulator import drive
    from search.spec.cells import make_plan

    study = spec(TEXT.replace("audit_share = 0.0", "audit_share = 0.3"))
    plan, held = make_plan(study), preview(study, workers)
    for seed in range(20):
        curves = synthetic_curves("noise", 2, 9, 81, np.random.default_rng(seed))
        values = curves.sample(9, np.random.default_rng(seed))[0]
        wall, busy, _ = drive(
            Scheduler(2, plan, rule=cell_promote),
            workers,
            lambda job, values=values: values[job.cell, job.config, job.to_epoch - 1],
            lambda job: job.to_epoch - job.from_epoch,
        )
        assert held.wall_epochs[0] <= wall <= held.wall_epochs[1]
        assert busy <= held.search_epochs[1] + held.audit_epochs[1] + held.confirm_epochs


def test_memory_is_that_of_the_weights_and_what_is_as_large():
    """ResNet-18 with ten outputs has 11,181,642 parameters; SGD with momentum, best weights."""
    text = TEXT.replace("[budget]", "[fixed]\nskip_padding = false\n[budget]")
    stock = preview(spec(text), 1).memory_mb
    assert stock["depth 18"] == pytest.approx(11_181_642 * 4 * 4 / 2**20, rel=0.01)
    held = preview(spec(), 1).memory_mb
    assert held["depth 18"] < 0.8 * stock["depth 18"]


def test_a_study_of_seeds_alone_has_nothing_to_search():
    held = preview(spec(TEXT.split("[space")[0] + "[budget]\nmax_epochs = 5\n"), 1)
    assert (held.trials, held.search_epochs, held.confirm_epochs) == (0, (0, 0), 10)


def run(capsys, *words):
    status = main(words)
    return status, capsys.readouterr()


@pytest.fixture
def study(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(TEXT)
    return str(path)


def test_preview_says_where_nothing_is_tuned(capsys, study):
    _, shown = run(capsys, "preview", study)
    assert "nothing is tuned" not in shown.out
    Path(study).write_text(TEXT.split("[space")[0] + "[budget]\nmax_epochs = 5\n")
    _, shown = run(capsys, "preview", study)
    assert "nothing is tuned: each cell is trained as it is, once a seed" in shown.out


def test_preview_prints_a_table_or_json(capsys, study):
    status, shown = run(capsys, "preview", study, "--workers", "4")
    assert status == 0
    assert "search 378 (at most 810" in shown.out
    status, shown = run(capsys, "preview", study, "--json")
    assert json.loads(shown.out)["search_epochs"] == [378, 810]


def test_simulate_prints_every_rule_or_json(capsys, study):
    status, shown = run(capsys, "simulate", study, "--repeats", "3", "--workers", "4")
    assert status == 0
    for rule in ("cell-promote", "cell-stop", "ray-asha", "full"):
        assert rule in shown.out
    _, shown = run(capsys, "simulate", study, "--repeats", "2", "--rule", "full", "--json")
    held = json.loads(shown.out)["rules"]
    assert list(held) == ["full"]
    assert held["full"]["cost"] == 1


def test_simulate_takes_the_short_options_of_run(capsys, study):
    words = ["simulate", study, "--repeats", "1", "--rule", "full", "--json"]
    filled = []
    for more in ([], ["--depth", "18"]):
        _, shown = run(capsys, *words, *more)
        filled.append(json.loads(shown.out)["rules"]["full"]["filled"])
    assert filled == [2, 1]


def test_simulate_says_how_many_configs_the_curves_have(capsys, study, tmp_path):
    rows = [f"{d},{c},{e},0.5" for d in (18, 34) for c in range(4) for e in range(1, 82)]
    path = tmp_path / "curves.csv"
    path.write_text("\n".join(["depth,config,epoch,accuracy", *rows]))
    status, shown = run(capsys, "simulate", study, "--curves", str(path))
    assert status == 2
    assert "--set budget.trials_per_cell=4" in shown.err
    status, shown = run(
        capsys,
        *("simulate", study, "--curves", str(path), "--repeats", "2"),
        *("--set", "budget.trials_per_cell=4"),
    )
    assert status == 0


@pytest.mark.parametrize("words", [("--workers", "0"), ("--repeats", "-1"), ("--rule", "best")])
def test_bad_words_are_refused(study, words):
    with pytest.raises(SystemExit) as error:
        main(["simulate", study, *words])
    assert error.value.code == 2


def test_a_study_without_a_space_cannot_be_simulated(capsys):
    status, shown = run(capsys, "simulate", "report-crowd-lr")
    assert status == 2
    assert "no [space]" in shown.err


@pytest.mark.long
def test_neither_loads_ray():
    code = (
        "import sys; from search.cli.main import main; main(['preview', 'cifar10']); "
        "main(['simulate', 'cifar10', '--repeats', '1']); "
        "assert not [m for m in sys.modules if m == 'ray' or m.startswith('ray.')]"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_stopping_rule_may_end_sooner_than_promotion_would(study, capsys):
    """Each arrival worse than all before it: nine trials of a cell stop at the first rung."""
    held = preview(spec(TEXT.replace("[cells]", 'scheduler = "cell-stop"\n[cells]')), 1000)
    assert held.wall_epochs[0] <= held.search_epochs[0]
    status, shown = run(capsys, "preview", study, "--set", 'scheduler="ray-asha"')
    assert status == 0
    assert "the most it can take" in shown.out
