"""The exponential moving average of a network's weights, on the device beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """Averages of all parameters of a network and the floating buffers that its checkpoint keeps.

    At step t a share of min(decay, t / (t + 9)) of them stays: an average of few steps would
    otherwise be one of the start. Nothing is read back to the host: a step may be captured.

    Args:
        net: on its device; its tensors stay the same ones.
        decay: the share that stays, below 1.

    Attributes:
        steps: taken in so far, in a tensor of the device.
        decay: as given.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        # its own tensors: a state dict may hold others, where a layer leaves parameters out
        named = [*net.named_parameters(), *_statistics(net)]
        floating = [(name, held) for name, held in named if held.is_floating_point()]
        self._names = [name for name, _ in floating]
        self._live = [value for _, value in floating]
        self._held = [value.detach().clone() for value in self._live]
        self.steps = torch.zeros((), device=self._live[0].device)
        self.decay = decay

    @property
    def pairs(self) -> list[tuple[Tensor, Tensor]]:
        """What the network has, and its average, one after another."""
        return list(zip(self._live, self._held, strict=True))

    @torch.no_grad()
    def follow(self) -> None:
        """Take the weights of one more step in."""
        self.steps.add_(1)
        moves = 1 - (self.steps / (self.steps + 9)).clamp(max=self.decay)
        off = torch._foreach_sub(self._live, self._held)
        torch._foreach_mul_(off, moves)
        torch._foreach_add_(self._held, off)

    @torch.no_grad()
    def begin(self) -> None:
        """Start again at the network's weights as they are."""
        self.steps.zero_()
        torch._foreach_copy_(self._held, self._live)

    def tensors(self) -> list[Tensor]:
        """All that it holds."""
        return [*self._held, self.steps]

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps of it: averages by name, and the steps so far."""
        return {**dict(zip(self._names, self._held, strict=True)), "": self.steps}

    @torch.no_grad()
    def load(self, held: Mapping[str, Tensor]) -> None:
        """Go on from what a checkpoint kept."""
        torch._foreach_copy_(self.tensors(), [held[name] for name in [*self._names, ""]])

    @contextmanager
    def shown(self) -> Iterator[None]:
        """The network has the averages as its weights meanwhile."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        kept = [value.clone() for value in self._live]
        torch._foreach_copy_(self._live, self._held)
        torch._foreach_copy_(self._held, kept)


def _statistics(net: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Buffers of a state dict; the others are constants, such as small_maps' taps at rest."""
    for prefix, module in net.named_modules():
        for name, held in module.named_buffers(prefix, recurse=False):
            if name.rpartition(".")[2] not in module._non_persistent_buffers_set:
                yield name, held
