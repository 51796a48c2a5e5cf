"""BatchNorm's statistics estimated anew, for the weights that are about to be judged.

Running means and variances are averages over the last steps, of the weights as these were then.
Weights that move fast, and weights that are averages themselves (ema), are judged by statistics of
other networks; docs/crowds.md says what that cost one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainables.engine.step import autocast, channels_last
from trainables.task import Config


@contextmanager
def estimated(net: nn.Module, batches: Iterable[Tensor], config: Config) -> Iterator[None]:
    """The network's BatchNorm layers have the statistics of these batches meanwhile.

    The mean of the batches' means and variances, all with the weights as they are ("PreciseBN", Wu
    and Johnson, Rethinking "Batch" in BatchNorm, 2021, section 3). Layers that training leaves in
    evaluation stay as they are, dropout is off. Without a batch nothing changes.

    Args:
        net: on the device of the batches.
        batches: inputs of the network.
        config: `precision` is read.
    """
    layers = trained_norms(net)
    kept = [(t, t.clone()) for layer in layers for t in layer.buffers(recurse=False)]
    momenta = [layer.momentum for layer in layers]
    try:
        for number, x in enumerate(batches if layers else (), 1):
            for layer in layers:
                layer.train()
                layer.momentum = 1 / number  # so that the running mean is that of all so far
            with torch.no_grad(), autocast(config, x.device):
                net(channels_last(x))
        _put_back(layers, momenta)
        yield
    finally:
        _put_back(layers, momenta)
        with torch.no_grad():
            for tensor, before in kept:
                tensor.copy_(before)  # in place: a captured step holds on to it


def _put_back(layers: Sequence[_BatchNorm], momenta: Sequence[float | None]) -> None:
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.eval()
        layer.momentum = momentum


def trained_norms(net: nn.Module) -> list[_BatchNorm]:
    """BatchNorm layers that keep statistics of what they are trained on; leaves `net` in eval."""
    net.train()
    norms = [m for m in net.modules() if isinstance(m, _BatchNorm) and m.training]
    net.eval()
    return [norm for norm in norms if norm.track_running_stats and norm.running_mean is not None]
