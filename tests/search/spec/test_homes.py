"""A key in the wrong table is told its own, and a name that is not there its nearest."""

from __future__ import annotations

import pytest

from search.spec.study_spec import SpecError, load_spec
from search.spec.toml_text import parsed_toml
from trainables.errors import did_you_mean

STUDY = """name = "s"
task = "cifar10"
[cells]
depth = [18, 34]
[space.lr]
low = 0.01
high = 0.1
[budget]
trials_per_cell = 4
max_epochs = 9
"""


def refused(folder, *overrides, text=STUDY):
    path = folder / "s.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load_spec(path, list(overrides))
    return str(caught.value)


@pytest.mark.parametrize(
    ("override", "home"),
    [
        ("fixed.max_epochs=3", "budget.max_epochs"),
        ("space.max_epochs=3", "budget.max_epochs"),
        ("max_epochs=3", "budget.max_epochs"),
        ("confirm.trials_per_cell=2", "budget.trials_per_cell"),
        ("budget.seeds=[1]", "confirm.seeds"),
        ("budget.lr=0.1", "fixed.lr or cells.lr or space.lr"),
        ("resources.depth=18", "cells.depth or fixed.depth"),
    ],
)
def test_a_key_of_another_table_is_named_with_it(tmp_path, override, home):
    text = refused(tmp_path, override)
    assert f"{override.partition('=')[0]}: no such key here; it is {home} (set on" in text
    assert "did you mean" not in text


def test_a_misspelt_key_is_told_the_nearest(tmp_path):
    assert "did you mean max_epochs?" in refused(tmp_path, "budget.max_epoch=3")
    assert "did you mean momentum?" in refused(tmp_path, "fixed.momentun=0.1")


def test_a_setting_that_leaves_no_cell_is_told_in_a_line(tmp_path):
    text = refused(tmp_path, "fixed.depth=18")
    assert text.endswith(
        "depth set elsewhere leaves [cells] empty, and nothing to compare: keep it there, as "
        "cells.depth=[...], or name another parameter of [cells] too"
    )
    assert "\n" not in text
    (tmp_path / "s.toml").write_text(STUDY, encoding="utf-8")
    both = ["fixed.depth=18", "cells.pretrained=[true]"]
    assert load_spec(tmp_path / "s.toml", both)[0].cells == {"pretrained": (True,)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[a]\nx = 1\n[b]\nx = 2\nx = 3\n", "line 5: the key x is given twice in its table"),
        ("x = 1\nx = [\n 2,\n 3,\n]\n", "the key x is given twice in its table"),
        ("[a]\nx = 1\n[a]\ny = 2\n", "line 3: [a]: what it names is there before"),
        ("[s]\nlr = 0.1\nwd = 1\n[s.lr]\nlow = 1\n", "line 4: [s.lr]: what it names is there"),
        ("[c]\ndepth = [18]\n[[c]]\nx = 1\n", "line 3: [[c]]: what it names is there before"),
        ("a = [1]\n[[a]]\nx = 1\n", "line 2: [[a]]: what it names is there before"),
        ("a.b = 1\na.b = 2\n", "line 2: the key a.b is given twice"),
        ("x = \n", "cannot be read as TOML: "),
    ],
)
def test_a_key_that_is_there_twice_is_named_with_its_line(text, said):
    with pytest.raises(ValueError) as caught:
        parsed_toml(text)
    assert str(caught.value).startswith(said) or said in str(caught.value)


def test_a_study_file_with_a_key_twice_is_refused_with_file_line_and_key(tmp_path):
    text = refused(tmp_path, text=f"{STUDY}max_epochs = 10\n")
    assert text.startswith(f"{tmp_path / 's.toml'}: line 11: the key max_epochs is given twice")


def test_the_nearest_name_whatever_its_case():
    assert did_you_mean("Deph", ["depth", "lr"]) == "; did you mean depth?"
    assert did_you_mean("xyz", ["depth", "lr"]) == ""
