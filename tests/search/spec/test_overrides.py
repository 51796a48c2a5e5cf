import argparse
import tomllib
from itertools import combinations

import pytest

from search.spec.overrides import add_overrides, apply_overrides, given_overrides
from search.spec.shipped import shipped_studies
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


@pytest.mark.parametrize(
    "bad", ["budget.max_epochs", "=3", "budget..x=3", "budget.max_epochs.x=3"]
)
def test_a_malformed_override_is_quoted(bad):
    with pytest.raises(ValueError, match="--set"):
        apply_overrides(RAW, [bad])


SEARCH = {
    "cells": {"depth": [18]},
    "space": {"lr": {"low": 0.1, "high": 1.0}},
    "sampler": "random",
    "budget": {"max_epochs": 81, "grace_epochs": 9, "trials_per_cell": 9, "full_per_cell": 2},
}


def test_a_study_whose_last_searched_setting_is_given_is_one_without_a_search():
    changed = apply_overrides(SEARCH, ["cells.lr=[0.1]"])
    assert changed == {
        "cells": {"depth": [18], "lr": [0.1]},
        "budget": {"max_epochs": 81, "grace_epochs": 9},
    }


def test_what_the_user_gave_is_never_dropped():
    """It is for the checks to say that it does not fit."""
    changed = apply_overrides(SEARCH, ["cells.lr=[0.1]", "budget.trials_per_cell=3"])
    assert changed["budget"]["trials_per_cell"] == 3


def test_a_setting_that_is_given_leaves_the_listed_configs():
    raw = {"points": [{"lr": 0.1, "momentum": 0.9}, {"lr": 0.2, "momentum": 0.9}], "cells": {}}
    assert apply_overrides(raw, ["cells.lr=[0.3]"])["points"] == [{"momentum": 0.9}]
    without = apply_overrides(raw, ["cells.lr=[0.3]", "fixed.momentum=0.5"])
    assert "points" not in without


def test_a_first_rung_longer_than_the_new_budget_shrinks_with_it():
    assert apply_overrides(SEARCH, ["budget.max_epochs=5"])["budget"]["grace_epochs"] == 1
    assert apply_overrides(SEARCH, ["budget.max_epochs=50"])["budget"]["grace_epochs"] == 9
    both = ["budget.max_epochs=5", "budget.grace_epochs=7"]
    assert apply_overrides(SEARCH, both)["budget"]["grace_epochs"] == 7


SHORT_OPTIONS = {
    "--depth": "34",
    "--lr": "0.1,0.05",
    "--epochs": "2",
    "--batch-size": "8",
    "--part": "A",
}
PAIRS = [*([name] for name in SHORT_OPTIONS), *map(list, combinations(SHORT_OPTIONS, 2))]


@pytest.mark.parametrize("names", PAIRS, ids=" ".join)
@pytest.mark.parametrize("study", shipped_studies())
def test_every_shipped_study_takes_every_short_option_or_says_why_not(study, names):
    """--lr left an empty [space] in four of them, which the user had not written."""
    parser = argparse.ArgumentParser()
    add_overrides(parser)
    words = [word for name in names for word in (name, SHORT_OPTIONS[name])]
    overrides = given_overrides(parser.parse_args(words))
    path = shipped_studies()[study]
    task = find_task(tomllib.loads(path.read_text())["task"])
    if "--part" in names and "part" not in task.settings:
        with pytest.raises(SpecError, match=r"1 fault\n  cells\.part: no setting of task"):
            load_spec(path, overrides)
        return
    spec, _ = load_spec(path, overrides)
    asked = {
        "--depth": spec.cells.get("depth") == (34,),
        "--lr": spec.cells.get("lr") == (0.1, 0.05) and "lr" not in spec.space,
        "--epochs": spec.budget.max_epochs == 2 >= spec.budget.grace_epochs,
        "--batch-size": spec.fixed.get("batch_size") == 8,
        "--part": spec.cells.get("part") == ("A",),
    }
    assert all(asked[name] for name in names)
