from __future__ import annotations

import math

import pytest
import torch

from trainables.tasks.class_collapse import HEALTH, health, is_collapsed
from trainables.tasks.classification import constants, evaluation

TEN = torch.arange(10).repeat(100)  # as CIFAR-10's test labels: each class as often
RARE = torch.tensor([0] * 90 + [1] * 10)


def answers(*counts):
    return torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))


@pytest.mark.parametrize(
    ("labels", "answer", "collapsed"),
    [
        (TEN, answers(0, 0, 0, 1000), True),
        (TEN, answers(0, 30, 0, 970), True),  # 3 % of others; a twentieth of nine tenths is 4.5 %
        (TEN, answers(0, 60, 0, 940), False),
        (TEN, answers(500, 500), False),  # two classes of ten: bad, and not one answer
        (TEN, TEN, False),
        (RARE, answers(100), True),
        (RARE, answers(99, 1), False),  # one class is common: few others are right
        (torch.full((50,), 3), answers(0, 0, 0, 50), False),  # all of one class, and so answered
    ],
)
def test_one_answer_for_next_to_all_images_is_collapsed(labels, answer, collapsed):
    assert is_collapsed(health(answer, labels)) is collapsed


def test_health_by_hand():
    """Of four images three are answered 2; half of the truth is another class than its first."""
    found = health(torch.tensor([2, 2, 2, 0]), torch.tensor([1, 1, 0, 2]))
    assert tuple(found) == HEALTH
    assert found == {"top_share": 0.75, "other_share": 0.5, "answered": 2.0}


class OneClass(torch.nn.Module):
    """Answers class 3 whatever it sees, as surely as it is asked to."""

    def __init__(self, surely: float) -> None:
        super().__init__()
        self.scores = torch.zeros(10)
        self.scores[3] = surely

    def forward(self, x):
        return self.scores.expand(len(x), 10)


@pytest.mark.parametrize("surely", [1e-3, 50.0])
def test_an_evaluation_says_that_a_network_of_one_answer_has_collapsed(surely):
    inputs = torch.zeros(len(TEN), 1)
    found = evaluation(OneClass(surely), lambda rows, number: inputs[rows], TEN, None)
    assert found.metrics["accuracy"] == pytest.approx(0.1)
    assert found.collapsed is True
    assert set(HEALTH) <= set(found.metrics)


def test_the_constants_are_the_commonest_class_and_the_shares_of_training():
    """Training has 3, 1 of two classes; test 1, 3: the shares cost (ln 4/3 + 3 ln 4) / 4."""
    found = constants(torch.tensor([0, 0, 0, 1]), torch.tensor([0, 1, 1, 1]), 2)
    assert found["majority class"] == {"accuracy": 0.25}
    expected = (math.log(4 / 3) + 3 * math.log(4)) / 4
    assert found["class shares"] == {"loss": pytest.approx(expected)}
    assert found["uniform guess"] == {"loss": pytest.approx(math.log(2)), "accuracy": 0.5}


def test_shares_without_a_class_of_test_have_no_loss():
    """It would be infinite; a class that test lacks costs nothing."""
    train, test = torch.tensor([0, 0, 2]), torch.tensor([0, 1])
    assert "class shares" not in constants(train, test, 3)
    found = constants(train, torch.tensor([0, 0]), 3)
    assert found["class shares"]["loss"] == pytest.approx(math.log(3 / 2))
