"""Cuts and limits: by seed, class by class, and never of rows that are not there."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables.task import DataError
from trainables.tasks.splits import at_most, cut_off, cut_off_each, step_sizes


@given(
    st.lists(st.integers(0, 4), min_size=2, max_size=80),
    st.floats(0.01, 0.5),
    st.integers(0, 5),
)
def test_a_cut_class_by_class_is_a_split_with_every_class_near_its_share(classes, share, seed):
    labels = torch.tensor(classes)
    counts = torch.bincount(labels)
    if int(counts.max()) < 2:
        with pytest.raises(DataError, match="no class has a second row"):
            cut_off_each(labels, share, seed)
        return
    kept, cut = cut_off_each(labels, share, seed)
    assert sorted([*kept.tolist(), *cut.tolist()]) == list(range(len(labels)))
    assert len(cut) >= 1
    left = torch.bincount(labels[kept], minlength=len(counts))
    assert bool((left[counts > 0] >= 1).all())
    # a class of one row gives none, so the others may give a row more than their share
    if int(counts[counts > 0].min()) > 1:
        taken = torch.bincount(labels[cut], minlength=len(counts))
        assert bool(((taken - counts * share).abs() < 2).all())


def test_among_equal_classes_lots_decide_which_give_a_row_more():
    labels = torch.arange(20).repeat_interleave(5)
    given = [set(labels[cut_off_each(labels, 0.1, seed)[1]].tolist()) for seed in range(9)]
    assert all(len(classes) == 10 for classes in given)
    assert set().union(*given) == set(range(20))


def test_rows_too_few_to_be_cut_are_refused():
    with pytest.raises(DataError, match="too few to cut"):
        cut_off(1, 0.1, 0)
    kept, cut = cut_off(2, 0.1, 0)
    assert (len(kept), len(cut)) == (1, 1)
    assert len(cut_off(1, 0.0, 0)[1]) == 0


def test_a_limit_draws_from_all_rows_and_a_larger_one_adds_to_it():
    rows = torch.arange(100, 1100)
    few, more = at_most(rows, 20, 3), at_most(rows, 50, 3)
    assert len(few.unique()) == 20
    assert torch.equal(more[:20], few)
    assert int(few.max()) > 600  # not the first ones
    assert not torch.equal(few, at_most(rows, 20, 4))
    assert at_most(rows, None, 3) is rows
    assert torch.equal(at_most(rows, 1000, 3), rows)


@given(st.integers(1, 300), st.integers(2, 40))
def test_steps_are_full_but_for_the_last_and_none_of_one_row(count, batch_size):
    sizes = step_sizes(count, batch_size)
    assert sum(sizes) == count
    assert all(size == batch_size for size in sizes[:-1])
    assert sizes[-1] > 1 or count == 1
