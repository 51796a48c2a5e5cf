"""A setting may have the name of a column: frames and tables keep both."""

import pandas as pd
import pytest

from analysis.display import tables
from search import record
from search.record import setting_column, trial_column
from search.record.columns import DTYPES, trial_columns
from tests.search.conftest import TEXT, drive
from trainables import TASKS, find_task
from trainables.settings import COMMON

pytestmark = pytest.mark.long


def two_values(setting):
    """Two values that a setting may take."""
    if setting.kind is bool:
        return [False, True]
    if setting.choices:
        return list(setting.choices[:2])
    low = setting.low if setting.low is not None else 0.25
    if setting.kind is int:
        return [max(64, int(low)), max(64, int(low)) + 1]
    return [low + 0.125, low + 0.25]


def settings(role):
    return [
        (task, name)
        for task in TASKS
        for name, held in find_task(task).settings.items()
        if held.role in role and held.kind is not tuple and name not in ("depth", "edition")
        if task == "cifar10" or name not in COMMON  # once is enough
    ]


def study_text(task, table, name):
    values = two_values(find_task(task).settings[name])
    written = ", ".join(f'"{v}"' if isinstance(v, str) else str(v).lower() for v in values)
    text = TEXT.replace('task = "cifar10"', f'task = "{task}"')
    if "edition" not in find_task(task).settings:
        text = text.replace('edition = "synthetic"', "")
    text = text.replace("[space.lr]\nlow = 0.01\nhigh = 0.1\nlog = true", "")
    if table == "cells":
        text = text.replace("depth = [18, 34]", f"{name} = [{written}]")
        return text.replace("trials_per_cell = 5", ""), values
    return text.replace("[fixed]", f"[space]\n{name} = [{written}]\n[fixed]"), values


@pytest.mark.parametrize(("task", "name"), settings(("any", "cell")))
def test_every_setting_as_a_cell_reaches_record_and_tables(task, name, make_study):
    """[cells] precision validated, and then no frame could be written."""
    text, values = study_text(task, "cells", name)
    try:
        study = make_study(text=text)
    except ValueError as error:
        assert name in str(error)  # one of the two goes with nothing else at its default
        return
    drive(study)
    study.close()
    held = record.load(study.folder)
    column = trial_column(held.study, name)
    by_cell = held.trials.groupby("cell")[column].agg(list)
    assert [set(by_cell[0]), set(by_cell[1])] == [{values[0]}, {values[1]}]
    for key in tables.keys(held):
        shown = tables.make(held, key)
        assert shown.display.columns.is_unique
        assert shown.data.columns.is_unique


@pytest.mark.parametrize(("task", "name"), settings(("any",)))
def test_every_searched_setting_reaches_record_and_tables(task, name, make_study):
    text, values = study_text(task, "space", name)
    try:
        study = make_study(text=text)
    except ValueError as error:
        assert name in str(error)
        return
    drive(study)
    study.close()
    held = record.load(study.folder)
    searched = held.trials[held.trials["stage"] == "search"]
    assert set(searched[trial_column(held.study, name)]) <= set(values)
    for key in tables.keys(held):
        assert tables.make(held, key).data.columns.is_unique


@pytest.mark.parametrize("name", [*DTYPES, "test_loss", "last_val_accuracy", "value_train_loss"])
def test_a_setting_of_any_column_s_name_overwrites_nothing(name):
    study = {"row_metrics": ["train_loss", "val_accuracy"], "metrics": ["loss"]}
    assert trial_column(study, name) == f"setting_{name}"
    assert trial_column(study, "depth") == "depth"


def test_a_setting_s_column_is_its_own(make_study):
    text = TEXT.replace("depth = [18, 34]", 'precision = ["fp32", "bf16"]')
    study = make_study(text=text)
    drive(study)
    study.close()
    frame = pd.read_parquet(study.folder / "trials.parquet")
    assert set(frame["setting_precision"]) == {"fp32", "bf16"}
    assert frame["precision"].isna().all()  # what the worker says it computed in: nothing here
    assert setting_column("precision", ["lr"]) == "precision"


def test_further_metrics_have_columns_beside_those_of_the_tables(make_study):
    """NAE and GAME are on record and in no table; a record of before has none of them."""
    text = TEXT.replace('task = "cifar10"', 'task = "shanghaitech"')
    study = make_study(text=text)
    drive(study)
    study.close()
    held = record.load(study.folder)
    also = find_task("shanghaitech").also
    assert {"nae", "game1", "game3", "skill"} <= set(also)
    assert {f"test_{name}" for name in also} <= set(held.trials.columns)
    assert held.study["metrics"] == ["mae", "rmse"]
    before = {key: value for key, value in held.study.items() if key != "also"}
    assert not {f"test_{name}" for name in also} & set(trial_columns(before))
