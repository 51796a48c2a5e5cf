import pytest

from search.spec.overrides import apply_overrides

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
