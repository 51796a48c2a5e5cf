import math
import tomllib

import pytest

from search.schedule.sampler import CellSampler
from search.spec.cells import cell_seed
from search.spec.study_spec import parse_spec

TEXT = """
name = "mine"
task = "cifar10"
sampler = "{sampler}"
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
[space.batch_size]
values = [32, 64]
[budget]
trials_per_cell = 8
max_epochs = 9
"""
SCRATCH, TUNED = {"depth": 18, "pretrained": False}, {"depth": 18, "pretrained": True}


def sampler(name, cell=SCRATCH, text=TEXT):
    return CellSampler(parse_spec(tomllib.loads(text.format(sampler=name)), "mine.toml"), cell)


def configs(held, count=8):
    return [held.config(number) for number in range(count)]


@pytest.mark.parametrize("name", ["random", "quasi-random", "tpe"])
def test_configs_lie_in_the_range_of_their_cell(name):
    for cell, low, high in ((SCRATCH, 0.02, 0.4), (TUNED, 0.001, 0.03)):
        held = sampler(name, cell)
        for number in range(8):
            config = held.config(number)
            assert low <= config["lr"] <= high
            assert config["batch_size"] in (32, 64)
            held.tell(number, 1, config["lr"])


@pytest.mark.parametrize("name", ["random", "quasi-random"])
def test_configs_do_not_depend_on_the_order_or_on_results(name):
    straight, backwards = sampler(name), sampler(name)
    expected = configs(straight)
    for number in reversed(range(8)):
        backwards.tell(number, 1, float(number))
        assert backwards.config(number) == expected[number]


def test_cells_draw_different_configs():
    assert configs(sampler("random", SCRATCH)) != configs(
        sampler("random", {**SCRATCH, "depth": 34})
    )
    assert cell_seed(0, SCRATCH) != cell_seed(1, SCRATCH)


def test_quasi_random_configs_cover_the_range_evenly():
    """Eight points of a scrambled Sobol sequence: one in each eighth of the log range."""
    text = TEXT.replace("[space.batch_size]\nvalues = [32, 64]\n", "")
    for cell, low, high in ((SCRATCH, 0.02, 0.4), (TUNED, 0.001, 0.03)):
        lrs = [c["lr"] for c in configs(sampler("quasi-random", cell, text))]
        share = [math.log(lr / low) / math.log(high / low) for lr in lrs]
        assert sorted(int(s * 8) for s in share) == list(range(8))


def test_tpe_is_repeatable_from_the_same_results():
    def drive():
        held, seen = sampler("tpe"), []
        for number in range(8):
            seen.append(held.config(number))
            held.tell(number, 1, -abs(math.log(seen[-1]["lr"] / 0.1)) if number else None)
        return seen

    assert drive() == drive()


def test_tpe_learns_where_the_good_ones_are():
    text = TEXT.replace("trials_per_cell = 8", "trials_per_cell = 40")
    held = sampler("tpe", text=text)
    for number in range(40):
        held.tell(number, 9, -abs(math.log(held.config(number)["lr"] / 0.1)))
    late = [abs(math.log(held.config(n)["lr"] / 0.1)) for n in range(30, 40)]
    early = [abs(math.log(held.config(n)["lr"] / 0.1)) for n in range(10)]
    assert sum(late) < 0.6 * sum(early)


def test_a_config_of_the_journal_is_kept():
    held = sampler("tpe")
    held.remember(0, {"lr": 0.123, "batch_size": 32})
    assert held.config(0) == {"lr": 0.123, "batch_size": 32}
