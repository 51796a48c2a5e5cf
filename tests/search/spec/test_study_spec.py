import tomllib

import pytest

from search.cli.main import main
from search.schedule.sampler import CellSampler
from search.spec.shipped import StudyNotFoundError, find_study, shipped_studies
from search.spec.study_spec import SpecError, load_spec, parse_spec, recorded_spec

GOOD = """
name = "mine"
task = "cifar10"
[cells]
depth = [18, 34]
pretrained = [false, true]
[space.lr]
low = 0.02
high = 0.4
log = true
[[space.lr.when]]
pretrained = true
low = 0.001
high = 0.03
[fixed]
batch_size = 64
[budget]
trials_per_cell = 9
max_epochs = 27
"""


def faults(text):
    with pytest.raises(SpecError) as caught:
        parse_spec(tomllib.loads(text), "mine.toml")
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("mine.toml: ")
    return {line.strip().partition(": ")[0]: line.strip().partition(": ")[2] for line in lines[1:]}


@pytest.mark.parametrize("name", shipped_studies())
def test_every_shipped_study_loads_under_its_own_name(name):
    spec, text = load_spec(find_study(name))
    assert spec.name == name
    assert spec.description
    assert f'name = "{name}"' in text


def test_cells_are_every_combination_in_the_order_of_the_file():
    spec = parse_spec(tomllib.loads(GOOD), "mine.toml")
    assert [(c["depth"], c["pretrained"]) for c in spec.cell_values()] == [
        (18, False),
        (18, True),
        (34, False),
        (34, True),
    ]


def test_a_condition_changes_the_range_and_keeps_the_scale():
    space = parse_spec(tomllib.loads(GOOD), "mine.toml").space["lr"]
    scratch = space.at({"depth": 18, "pretrained": False})
    tuned = space.at({"depth": 18, "pretrained": True})
    assert (scratch.low, scratch.high, scratch.log) == (0.02, 0.4, True)
    assert (tuned.low, tuned.high, tuned.log) == (0.001, 0.03, True)


def test_a_config_is_defaults_then_protocol_then_fixed_then_cell_then_drawn():
    text = GOOD.replace('task = "cifar10"', 'task = "cifar10"\nprotocol = "report"')
    text = text.split("[space.lr]")[0] + "[fixed]\nmomentum = 0.8\n[budget]\nmax_epochs = 2\n"
    spec = parse_spec(tomllib.loads(text), "mine.toml")
    config = spec.config({"depth": 34, "pretrained": True}, {"lr": 0.5})
    assert config["momentum"] == 0.8  # the file
    assert config["augment_evaluation"] is True  # the report's habit
    assert config["label_smoothing"] == 0.0  # the task's default
    assert (config["depth"], config["lr"]) == (34, 0.5)


def test_every_fault_is_reported_at_once_by_key():
    found = faults(
        """
name = "a b"
task = "cifar10"
sed = 1
protocol = "hones"
[cells]
depth = [18, 20]
[space.lr]
low = 0.4
high = 0.02
[[space.lr.when]]
pretraind = true
low = 0.1
high = 0.2
[fixed]
batch_sise = 3
momentum = "a"
sampler = "grid"
[budget]
max_epochs = 3
grace_epochs = 5
"""
    )
    assert found["sed"] == "no such key; did you mean seed?"
    assert "20" in found["cells.depth"]
    assert "did you mean batch_size?" in found["fixed.batch_sise"]
    assert found["fixed.sampler"].endswith("sampler belongs above the first [table] of the file")
    assert found["fixed.momentum"] == "must be a number, not 'a'"
    assert found["space.lr.low"] == "must be below high (0.02), not 0.4"
    assert "pretraind" in str(found)
    assert "above max_epochs (3)" in found["budget.grace_epochs"]
    assert {"name", "protocol"} <= set(found)


@pytest.mark.parametrize(
    ("change", "key", "text"),
    [
        (("depth = [18, 34]", "depth = []"), "cells.depth", "is empty"),
        (("depth = [18, 34]", "depth = [18, 18]"), "cells.depth", "twice"),
        (("low = 0.02", "low = -0.02"), "space.lr.low", "above 0"),
        (("low = 0.02\n", ""), "space.lr.low", "must be given"),
        (("batch_size = 64", "depth = 50"), "fixed.depth", "also in [cells]"),
        (("batch_size = 64", "lr = 0.1"), "fixed.lr", "also in [space]"),
        (("batch_size = 64", 'stem = "cifar"'), "fixed.stem", "no pretrained weights"),
        (("trials_per_cell = 9", "full_per_cell = 3"), "budget.full_per_cell", "promises 3"),
        (("max_epochs = 27", ""), "budget.max_epochs", "must be given"),
        (("max_epochs = 27", "max_epochs = 27.5"), "budget.max_epochs", "whole number"),
        (('task = "cifar10"', 'task = "mnist"'), "task", "cifar10, shanghaitech"),
        (
            ("pretrained = true\nlow", "pretrained = 3\nlow"),
            "space.lr.when.0.pretrained",
            "true or false",
        ),
        (("batch_size = 64", "val_fraction = 0.0"), "fixed.val_fraction", "at least 0.001"),
        (
            ("batch_size = 64", "[space.stem]\nvalues = ['cifar']"),
            "space.stem",
            "cannot be searched",
        ),
        (
            ("batch_size = 64", "[space.train_images]\nlow=1\nhigh=9"),
            "space.train_images",
            "cannot",
        ),
        (
            ("pretrained = [false, true]", 'checkpoint_rule = ["best"]'),
            "cells.checkpoint_rule",
            "same",
        ),
        (("low = 0.001", "low = 0"), "space.lr.when.0.low", "above 0"),
        (
            ("max_epochs = 27", "max_epochs = 27\n[confirm]\nseeds = [0, 1]"),
            "confirm.seeds",
            "own seed",
        ),
        (
            ("max_epochs = 27", "max_epochs = 27\n[confirm]\nseeds = [-1]"),
            "confirm.seeds.0",
            "must be",
        ),
        (
            ("max_epochs = 27", "max_epochs = 27\n[resources]\ngpus_per_trial = -1"),
            "resources.gpus_per_trial",
            "must be",
        ),
        (('name = "mine"', 'name = "../mine"'), "name", "../mine"),
    ],
)
def test_a_fault_names_its_key_and_the_bad_value(change, key, text):
    assert change[0] in GOOD
    assert text in faults(GOOD.replace(*change))[key]


def test_an_empty_space_is_refused():
    head = 'name = "mine"\ntask = "cifar10"\n[cells]\ndepth = [18]\n'
    text = head + "[space]\n[budget]\nmax_epochs = 3\n"
    assert faults(text) == {
        "space": "is empty; name what is tuned, e.g. [space.lr], or leave [space] out"
    }


def test_a_whole_number_setting_draws_whole_numbers():
    text = GOOD.replace("batch_size = 64", "").replace(
        "[budget]", "[space.batch_size]\nlow = 32\nhigh = 128\n[budget]"
    )
    spec = parse_spec(tomllib.loads(text), "mine.toml")
    sampler = CellSampler(spec, {"depth": 18, "pretrained": False})
    drawn = [sampler.config(n)["batch_size"] for n in range(9)]
    assert all(isinstance(size, int) for size in drawn)
    assert len(set(drawn)) > 3


def test_an_honest_study_may_not_select_on_test():
    text = """
name = "mine"
task = "shanghaitech"
[cells]
part = ["A"]
[space.lr]
low = 1e-5
high = 1e-3
[fixed]
val_fraction = 0.0
checkpoint_rule = "last"
[budget]
trials_per_cell = 2
max_epochs = 2
"""
    assert "select on test" in faults(text)["fixed.val_fraction"]


def test_narrowing_the_cells_leaves_a_condition_that_never_holds():
    for narrow in ("pretrained = [false]", ""):
        text = GOOD.replace("pretrained = [false, true]", narrow)
        text = text if narrow else text.replace("batch_size = 64", "pretrained = false")
        spec = parse_spec(tomllib.loads(text), "mine.toml")
        assert spec.range_of("lr", {"depth": 18}).low == 0.02


def test_the_report_protocol_refuses_to_choose_a_config():
    found = faults(GOOD.replace('task = "cifar10"', 'task = "cifar10"\nprotocol = "report"'))
    assert "cannot choose a config" in found["space"]


def test_trials_without_a_space_are_refused():
    text = GOOD.split("[space.lr]")[0] + "[budget]\nmax_epochs = 2\ntrials_per_cell = 3\n"
    assert "confirm.seeds" in faults(text)["budget.trials_per_cell"]


def test_a_file_that_is_no_toml_is_named(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text("name = ")
    with pytest.raises(SpecError, match=r"bad\.toml: cannot be read as TOML"):
        load_spec(path)


def test_an_unknown_study_lists_the_shipped_ones_or_the_nearest():
    with pytest.raises(StudyNotFoundError, match=r"shipped are .*quickstart-cifar10"):
        find_study("nothing-like-it")
    with pytest.raises(StudyNotFoundError, match="did you mean quickstart-c"):
        find_study("quickstar")


# -- lists and grids ------------------------------------------------------------------------------

LISTED = """
name = "mine"
task = "cifar10"
[cells]
depth = [18, 34]
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
max_epochs = 9
"""
GRID = """
name = "mine"
task = "cifar10"
sampler = "grid"
[cells]
depth = [18, 34]
[space]
lr = [0.1, 0.01, 0.001]
weight_decay = [0.0, 1e-4]
[budget]
max_epochs = 9
"""


def drawn(text):
    spec = parse_spec(tomllib.loads(text), "mine.toml")
    samplers = [CellSampler(spec, cell) for cell in spec.cell_values()]
    return [[s.config(n) for n in range(spec.budget.trials_per_cell)] for s in samplers]


def test_a_list_of_points_is_every_cells_configs_in_order():
    first, second = drawn(LISTED)
    assert (
        first
        == second
        == [
            {"lr": 0.1, "weight_decay": 0.0},
            {"lr": 0.01, "weight_decay": 1e-4},
            {"lr": 0.01, "weight_decay": 0.0},
        ]
    )


def test_a_grid_is_every_combination_of_its_values():
    first, second = drawn(GRID)
    assert first == second
    assert [(c["lr"], c["weight_decay"]) for c in first] == [
        (lr, decay) for lr in (0.1, 0.01, 0.001) for decay in (0.0, 1e-4)
    ]


@pytest.mark.parametrize("text", [LISTED, GRID])
def test_a_list_or_grid_on_record_is_read_again_as_it_was(text):
    """`resume` reads the spec from study.json, with what was derived in it."""
    spec = parse_spec(tomllib.loads(text), "mine.toml")
    again = parse_spec(spec.model_dump(mode="json", exclude_unset=True), "study.json")
    assert again == spec


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        (LISTED.replace("weight_decay = 1e-4\n", ""), "points.1", "lacks weight_decay"),
        (LISTED.replace("0.01", "-0.01"), "space.lr", "above 0"),
        (LISTED.replace("weight_decay", "wait_decay"), "space.wait_decay", "did you mean"),
        (LISTED + "trials_per_cell = 4\n", "budget.trials_per_cell", "has 3 configs"),
        (LISTED.replace("[cells]", 'sampler = "tpe"\n[cells]', 1), "sampler", "go together"),
        (GRID.replace("grid", "list"), "points", "go together"),
        (GRID + "trials_per_cell = 5\n", "budget.trials_per_cell", "has 6 configs"),
        (
            GRID.replace("lr = [0.1, 0.01, 0.001]", "lr = {low = 0.1, high = 0.2}"),
            "space.lr",
            "no list of values",
        ),
    ],
)
def test_faults_of_lists_and_grids_name_their_key(text, key, words):
    found = faults(text)
    assert words in found[key], found


def test_an_audit_share_is_a_share():
    found = faults(GOOD.replace("max_epochs = 27", "max_epochs = 27\naudit_share = 1.5"))
    assert "must be 1 or less" in found["budget.audit_share"]


def test_a_study_of_before_a_setting_was_there_keeps_what_was_done_then():
    """Copies across splits were kept when nobody looked for them; a new study leaves them out."""
    raw = {"name": "x", "task": "cifar10", "cells": {"depth": [18]}, "fixed": {"lr": 0.1}}
    raw |= {"budget": {"max_epochs": 1}, "confirm": {"seeds": [1]}}
    settings = {"lr": 0.1}
    spec = recorded_spec({"spec": raw, "settings": settings}, "x")
    assert spec.config({"depth": 18}, {})["copies"] == "keep"
    spec = recorded_spec({"spec": raw, "settings": {**settings, "copies": "leave out"}}, "x")
    assert spec.config({"depth": 18}, {})["copies"] == "leave out"
    assert "copies" not in spec.fixed


def test_a_message_quotes_no_more_of_a_file_than_helps():
    with pytest.raises(SpecError) as refused:
        parse_spec({"name": "x", "task": "y" * 100_000, "z" * 100_000: 1}, "x.toml")
    assert len(str(refused.value)) < 10_000


def test_seeds_pair_cells_only_where_the_file_says_so_and_there_are_two():
    plain = parse_spec(tomllib.loads(GOOD), "mine.toml")
    assert plain.confirm.paired is False
    said = parse_spec(
        tomllib.loads(GOOD + "[confirm]\nseeds = [1, 2]\npaired = true"), "mine.toml"
    )
    assert said.confirm.paired is True
    found = faults(GOOD + "[confirm]\nseeds = [1]\npaired = true")
    assert "confirm.seeds" in found["confirm.paired"]


def test_a_fault_of_the_command_line_is_not_the_files():
    path = find_study("quickstart-cifar10")
    with pytest.raises(SpecError) as caught:
        load_spec(path, ["cells.lr = [-0.1]", "momentum=0.5", "budget.max_epochs=0", "budget.x=1"])
    _, *lines = str(caught.value).splitlines()
    assert "  cells.lr: must be above 0, not -0.1 (set on the command line)" in lines
    assert "  budget.x: no such key (set on the command line)" in lines
    assert all(line.endswith("(set on the command line)") for line in lines)
    # a setting that stands above the tables is told its place
    (told,) = [line for line in lines if line.startswith("  momentum: ")]
    assert "fixed.momentum" in told


def test_a_fault_of_the_file_is_the_files(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(find_study("quickstart-cifar10").read_text() + "\nmomentum = 7\n")
    with pytest.raises(SpecError) as caught:
        load_spec(path, ["cells.depth=[18]"])
    assert "command line" not in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        ["--lr", "0.1", "--lr", "0.2"],
        ["--set", "budget.max_epochs=8", "--set", "budget.max_epochs = 9"],
        ["--epochs", "8", "--set", "budget.max_epochs=9"],
    ],
)
def test_what_is_given_twice_is_refused(given, capsys):
    """The last would count, and the first be lost in silence."""
    try:
        status = main(["preview", "quickstart-cifar10", *given])
    except SystemExit as ended:  # as argparse refuses
        status = ended.code
    assert status == 2
    assert "twice" in capsys.readouterr().err
