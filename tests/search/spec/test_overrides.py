import itertools
import tomllib

import pytest

from search.cli.main import _parser, main
from search.schedule.sampler import CellSampler
from search.spec.cells import make_plan
from search.spec.overrides import apply_overrides, given_overrides
from search.spec.shipped import find_study, shipped_studies
from search.spec.study_spec import SpecError, load_spec
from trainables import find_task

RAW = {"cells": {"depth": [18]}, "fixed": {"lr": 0.1}, "budget": {"max_epochs": 200}}


def test_a_value_is_toml_and_anything_else_is_text():
    changed = apply_overrides(
        RAW, ["budget.max_epochs=3", "cells.depth=[18, 34]", "fixed.part=A", "confirm.seeds = [1]"]
    )
    assert changed["budget"] == {"max_epochs": 3}
    assert changed["cells"] == {"depth": [18, 34]}
    assert changed["fixed"]["part"] == "A"
    assert changed["confirm"] == {"seeds": [1]}
    assert RAW["budget"] == {"max_epochs": 200}


def test_a_parameter_has_one_home():
    """Searching what the file fixes is one override, not two."""
    changed = apply_overrides(RAW, ["space.lr.values=[0.1, 0.01]", "cells.lr=[0.1, 0.01]"])
    assert "lr" not in changed["fixed"]
    assert changed["cells"]["lr"] == [0.1, 0.01]
    changed = apply_overrides(RAW, ["space.lr.values=[0.1, 0.01]"])
    assert "lr" not in changed["fixed"]


@pytest.mark.parametrize(
    "bad", ["budget.max_epochs", "=3", "budget..x=3", "budget.max_epochs.x=3"]
)
def test_a_malformed_override_is_quoted(bad):
    with pytest.raises(ValueError, match="--set"):
        apply_overrides(RAW, [bad])


# -- the options against what ships ---------------------------------------------------------------

OPTIONS = {
    "--depth 18": ("cells", "depth", (18,)),
    "--lr 0.1": ("cells", "lr", (0.1,)),
    "--lr 0.1,0.01": ("cells", "lr", (0.1, 0.01)),
    "--epochs 2": ("budget", "max_epochs", 2),
    "--batch-size 8": ("fixed", "batch_size", 8),
    "--part A": ("cells", "part", ("A",)),
}
ASKED = [
    words
    for n in (1, 2)
    for words in itertools.combinations(OPTIONS, n)
    if len({word.split()[0] for word in words}) == n
]
SETS = {
    "--depth 18": "cells.depth=[18]",
    "--lr 0.1": "cells.lr=[0.1]",
    "--lr 0.1,0.01": "cells.lr=[0.1, 0.01]",
    "--epochs 2": "budget.max_epochs=2",
    "--batch-size 8": "fixed.batch_size=8",
    "--part A": 'cells.part=["A"]',
}


def loaded(study, *words):
    arguments = _parser()[0].parse_args(["run", study, *(w for pair in words for w in pair)])
    return load_spec(find_study(arguments.study), given_overrides(arguments))[0]


@pytest.mark.parametrize("long", [False, True], ids=["short", "set"])
@pytest.mark.parametrize("asked", ASKED, ids=" ".join)
@pytest.mark.parametrize("name", shipped_studies())
def test_an_option_on_a_shipped_study_gives_what_was_asked_for_or_names_its_key(name, asked, long):
    raw = tomllib.loads(find_study(name).read_text())
    words = [["--set", SETS[o]] if long else o.split() for o in asked]
    searched = set(raw.get("space", {})) - {OPTIONS[option][1] for option in asked}
    grace = raw["budget"].get("grace_epochs", 1)
    refused = {}
    if "--part A" in asked and "part" not in find_task(raw["task"]).settings:
        refused["cells.part"] = f"no setting of task {raw['task']}"
    if "--epochs 2" in asked and searched and grace > 2:
        refused["budget.grace_epochs"] = f"{grace} is above max_epochs (2)"
    if refused:
        with pytest.raises(SpecError) as error:
            loaded(name, *words)
        lines = str(error.value).splitlines()[1:]
        assert {line.strip().partition(": ")[0] for line in lines} == set(refused)
        assert all(text in str(error.value) for text in refused.values())
        return
    spec = loaded(name, *words)
    held = {"cells": dict(raw["cells"]), "fixed": dict(raw.get("fixed", {})), "budget": {}}
    for table, key, value in (OPTIONS[option] for option in asked):
        for other in held.values():
            other.pop(key, None)
        held[table][key] = value
    assert dict(spec.cells) == {key: tuple(values) for key, values in held["cells"].items()}
    assert dict(spec.fixed) == held["fixed"]
    assert spec.budget.max_epochs == held["budget"].get("max_epochs", raw["budget"]["max_epochs"])
    assert set(spec.space) == searched
    assert spec.confirm.seeds == tuple(raw.get("confirm", {}).get("seeds", []))
    plan = make_plan(spec)
    if not searched:
        assert (plan.trials_per_cell, plan.rungs) == (0, (spec.budget.max_epochs,))
        assert plan.confirm_seeds == (spec.confirm.seeds or (spec.seed,))
        assert spec.sampler == "quasi-random"
    elif "trials_per_cell" in raw["budget"]:
        assert plan.trials_per_cell == raw["budget"]["trials_per_cell"]


def test_the_readme_s_lr_makes_a_study_without_a_search(capsys):
    assert main(["preview", "quickstart-cifar10", "--lr", "0.1"]) == 0
    assert "nothing is tuned" in capsys.readouterr().out


LISTED = """
name = "mine"
task = "cifar10"
{sampler}
[cells]
depth = [18]
[[points]]
lr = 0.1
weight_decay = 0.0
[[points]]
lr = 0.01
weight_decay = 1e-4
[[points]]
lr = 0.01
weight_decay = 0.0
[budget]
trials_per_cell = 3
max_epochs = 9
"""


@pytest.fixture
def listed(tmp_path):
    def write(text):
        path = tmp_path / "mine.toml"
        path.write_text(text)
        return str(path)

    return write


@pytest.mark.parametrize("sampler", ["", 'sampler = "list"'])
def test_points_go_on_without_what_became_a_cell(listed, sampler):
    """Two of the three differed in lr alone."""
    spec = loaded(listed(LISTED.format(sampler=sampler)), ["--lr", "0.01,0.1"])
    assert dict(spec.cells) == {"depth": (18,), "lr": (0.01, 0.1)}
    sampler = CellSampler(spec, spec.cell_values()[0])
    assert spec.budget.trials_per_cell == 2
    assert [sampler.config(n) for n in range(2)] == [{"weight_decay": 0.0}, {"weight_decay": 1e-4}]
    both = ["--set", "fixed.weight_decay=0.0"]
    assert not loaded(listed(LISTED.format(sampler="")), ["--lr", "0.1"], both).space


def test_a_grid_goes_on_over_what_is_left(listed):
    text = LISTED.split("[[points]]")[0].format(sampler='sampler = "grid"')
    text += "[space]\nlr = [0.1, 0.01]\nmomentum = [0.8, 0.9, 0.95]\n"
    text += "[budget]\nmax_epochs = 3\ntrials_per_cell = 6\n"
    spec = loaded(listed(text), ["--lr", "0.5"])
    assert (set(spec.space), spec.budget.trials_per_cell) == ({"momentum"}, 3)


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ("budget.trials_per_cell=4", "budget.trials_per_cell"),
        ("sampler=list", "points"),
        ("space={}", "space"),
    ],
)
def test_what_the_user_set_stays_and_is_told_where_it_no_longer_applies(given, key):
    with pytest.raises(SpecError, match=rf"\n  {key}: "):
        loaded("shanghaitech-fc", ["--lr", "0.1"], ["--set", given])


@pytest.mark.parametrize("wrong", ["space = 3", "points = 3", "points = [3]", "budget = 3"])
def test_a_file_of_the_wrong_form_is_told_by_key(listed, wrong):
    text = f'name = "mine"\ntask = "cifar10"\n{wrong}\n[cells]\ndepth = [18]\n'
    text += "" if wrong.startswith("budget") else "[budget]\nmax_epochs = 3\n"
    with pytest.raises(SpecError, match=rf"\n  {wrong.split()[0]}(\.0)?: "):
        loaded(listed(text), ["--lr", "0.1"])


def test_a_file_that_is_wrong_by_itself_stays_wrong(listed):
    text = LISTED.format(sampler="").replace("depth = [18]", "depth = [18]\nlr = [0.1]")
    with pytest.raises(SpecError, match=r"space\.lr: is also in \[cells\]"):
        loaded(listed(text), ["--epochs", "9"])


@pytest.mark.parametrize(
    ("text", "values"), [(".1", (0.1,)), ("1.,1e-3", (1.0, 1e-3)), ("1,.5", (1, 0.5))]
)
def test_numbers_may_be_written_as_people_write_them(text, values):
    assert loaded("cifar10", ["--lr", text]).cells["lr"] == values


@pytest.mark.parametrize("bad", ["fast", "0.1,", "", '"0.1"', "nan"])
def test_what_is_no_number_is_quoted_under_its_key(bad):
    with pytest.raises(SpecError, match=r"cells\.lr: must be "):
        loaded("cifar10", ["--lr", bad])


def test_the_last_of_the_cells_may_not_go():
    with pytest.raises(SpecError, match="depth set elsewhere leaves \\[cells\\] empty"):
        loaded("cifar10-rates", ["--set", "fixed.depth=18"])
