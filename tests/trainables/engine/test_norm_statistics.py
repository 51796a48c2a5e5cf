"""BatchNorm's statistics estimated anew: by hand, while an evaluation lasts, and in a trial."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from trainables.dense import MapNet
from trainables.engine.norm_statistics import estimated

FP32 = {"precision": "fp32"}


def seen(*values: float) -> Tensor:
    return torch.tensor(values)[:, None]


def test_statistics_are_the_means_of_the_batches_and_only_meanwhile():
    norm = nn.BatchNorm1d(1, momentum=0.3)
    net = nn.Sequential(norm, nn.Dropout(0.5))
    norm(seen(10.0, 20.0))
    before = copy.deepcopy(net.state_dict())
    with estimated(net, [seen(1.0, 3.0), seen(2.0, 8.0), seen(0.0, 4.0)], FP32):
        assert not any(module.training for module in net.modules())
        assert norm.running_mean.item() == pytest.approx((2 + 5 + 2) / 3)
        assert norm.running_var.item() == pytest.approx((2 + 18 + 8) / 3)  # over n - 1
    assert norm.momentum == 0.3
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_layer_behind_another_sees_batches_as_training_would_show_them():
    """Its inputs are normalised by the batch, not by the statistics that are being estimated."""
    net = nn.Sequential(nn.BatchNorm1d(1), nn.BatchNorm1d(1))
    with estimated(net, [seen(1.0, 3.0), seen(200.0, 800.0)], FP32):
        assert net[1].running_mean.item() == pytest.approx(0, abs=1e-4)
        assert net[1].running_var.item() == pytest.approx(2, rel=1e-3)


def test_without_a_batch_nothing_changes_and_frozen_layers_never_do():
    net = nn.Sequential(nn.BatchNorm1d(1))
    net(seen(10.0, 20.0))
    before = net[0].running_mean.item()
    with estimated(net, [], FP32):
        assert net[0].running_mean.item() == before and not net[0].training
    body = nn.Module()
    for name in ("conv1", "relu", "maxpool", "layer1"):
        body.add_module(name, nn.Identity())
    body.bn1 = nn.BatchNorm2d(3)
    frozen = MapNet(body, 1, nn.Identity(), frozen=True)
    with estimated(frozen, [torch.randn(2, 3, 4, 4)], FP32):
        assert frozen.bn1.running_mean.tolist() == [0, 0, 0]


def test_they_are_put_back_where_an_evaluation_fails():
    net = nn.Sequential(nn.BatchNorm1d(1))
    with pytest.raises(ZeroDivisionError), estimated(net, [seen(1.0, 3.0)], FP32):
        raise ZeroDivisionError
    assert net[0].running_mean.item() == 0 and int(net[0].num_batches_tracked) == 0


def test_they_and_all_else_are_put_back_where_a_batch_fails():
    net = nn.Sequential(nn.BatchNorm1d(1, momentum=0.3))

    def batches():
        yield seen(1.0, 3.0)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), estimated(net, batches(), FP32):
        pass
    assert net[0].running_mean.item() == 0 and net[0].momentum == 0.3 and not net[0].training
