"""A step of an array: forward and backward as one program, the rest as each member does it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from warnings import warn

import torch
from torch import Tensor, nn

from trainables.engine.arrays import update, update_check
from trainables.engine.arrays.joint import joined
from trainables.engine.arrays.losses import add_up, losses_of
from trainables.engine.graphed import Capture, Captured
from trainables.engine.kit import Kit, capture_on
from trainables.engine.step import autocast, channels_last, nothing, single
from trainables.task import Batch, Config


class InTurn:
    """A step of each member after another, as it takes one alone.

    Args:
        members: in this order.
    """

    def __init__(self, members: Sequence[Kit]) -> None:
        self._members = members
        self._drawn: list[Tensor] = []

    def begin(self, seeds: Sequence[int]) -> None:
        """An epoch begins: what draws by PyTorch's own generator does so as alone."""
        self._drawn.clear()
        for seed in seeds:
            torch.manual_seed(seed)
            self._drawn.append(torch.get_rng_state())

    def __call__(self, batches: Sequence[Batch]) -> None:
        """Take one step on a batch of each member."""
        for at, (member, batch) in enumerate(zip(self._members, batches, strict=True)):
            torch.set_rng_state(self._drawn[at])
            member.step(batch)
            self._drawn[at] = torch.get_rng_state()

    @property
    def how(self) -> str:
        """See `trainables.engine.step.Step`."""
        return "eager"


class ArrayStep:
    """Forward, backward, update of all members.

    Clipping, update and averages are each member's own step's, which is why they may differ, and
    why they are what a single trial computes, given its gradients; of losses see `losses`.

    Args:
        members: their networks are joined; see `joint`.
        config: of one of them; `precision` is read.
    """

    def __init__(self, members: Sequence[Kit], config: Config) -> None:
        self._members, self._config = members, config
        self._net = joined([member.net for member in members])
        self._join: Callable[[], None] = nothing
        self._losses, self._totals = losses_of(members), dict[str, Tensor]()
        each = zip(*(member.net.parameters() for member in members), strict=True)
        self._parts = list(zip(self._net.parameters(), each, strict=True))
        self._counters = [
            module.num_batches_tracked
            for member in members
            for module in member.net.modules()
            if isinstance(module, nn.BatchNorm2d) and module.num_batches_tracked is not None
        ]

    def begin(self, seeds: Sequence[int]) -> None:
        """An epoch begins: one generator for all, of the first one's seed."""
        torch.manual_seed(seeds[0])

    def __call__(self, batches: Sequence[Batch]) -> None:
        """Take one step on a batch of each member; the same object where they share it."""
        self._run(self._together(batches))

    @property
    def how(self) -> str:
        """See `trainables.engine.step.Step`."""
        return "eager"

    def clear(self) -> None:
        """Forget the sums of all members."""
        for member in self._members:
            member.step.clear()

    def _together(self, batches: Sequence[Batch]) -> Batch:
        """Inputs side by side, or once where all share them; targets `(members, batch, ...)`."""
        x, target = batches[0]
        if all(batch is batches[0] for batch in batches):
            return x, target.expand(len(batches), *target.shape)
        return torch.cat([x for x, _ in batches], 1), torch.stack([held for _, held in batches])

    def _run(self, batch: Batch) -> None:
        x, targets = batch
        self._net.zero_grad(set_to_none=True)
        with autocast(self._config, x.device):
            outputs = self._net(channels_last(x))
        losses, sums = self._losses(single(outputs), targets)
        torch.autograd.backward(losses, torch.ones_like(losses))
        self._join()
        for whole, parts in self._parts:
            assert whole.grad is not None
            for part, gradient in zip(parts, whole.grad.chunk(len(parts)), strict=True):
                part.grad = gradient
        torch._foreach_add_(self._counters, 1)
        self._move()
        add_up(self._totals, self._members, {"loss": losses.detach() * len(x), **sums})

    def _move(self) -> None:
        for member in self._members:
            member.step.move()


class GraphedArrayStep(Captured, ArrayStep):
    """The same as a CUDA graph, with one update for all members where that works.

    Steps beside the graph, of another shape, update each by itself. The members' learning rates
    are tensors.

    Args:
        members: see ArrayStep.
        config: see ArrayStep.
        capture: see Captured.
    """

    def __init__(self, members: Sequence[Kit], config: Config, capture: Capture) -> None:
        ArrayStep.__init__(self, members, config)
        Captured.__init__(self, capture)
        self._update: update.Update | None = None
        self._capturing = False

    def __call__(self, batches: Sequence[Batch]) -> None:  # type: ignore[override]
        """Take one step on a batch of each member; the same object where they share it."""
        Captured.__call__(self, self._together(batches))

    @property
    def how(self) -> str:
        """See `trainables.engine.step.Step`."""
        apart = self._replay is not None and self._update is None
        return f"{super().how}{', updates apart' if apart else ''}"

    def _prepare(self, batch: Batch) -> None:
        super()._prepare(batch)
        if self._update is not None and not self.failed:
            self._update.captured()

    def _warm_up(self, batch: Batch) -> None:
        super()._warm_up(batch)
        # now that the optimizers have their states, and before anything is captured
        weight = next(self._net.parameters())
        if update_check.works(weight.device, weight.dtype):
            try:
                self._update = update.Update(self._members)
            except (ValueError, RuntimeError) as error:  # laid out otherwise, or no memory for it
                warn(f"members are updated one by one: {error}", stacklevel=2)

    def _run_counted(self, batch: Batch) -> None:
        self._capturing = True
        try:
            super()._run_counted(batch)
        finally:
            self._capturing = False

    def _move(self) -> None:
        if self._capturing and self._update is not None:
            self._update()
        else:
            super()._move()

    def _state(self) -> tuple[Iterable[Tensor], Sequence[torch.optim.Optimizer]]:
        held = [tensor for member in self._members for tensor in member.step.tensors()]
        return held, [member.optimizer for member in self._members]


AnyStep = InTurn | ArrayStep


def step_of(kits: Sequence[Kit], config: Config, device: torch.device, join: bool) -> AnyStep:
    """What takes a step of all members, given the batch of each.

    Args:
        kits: the members'.
        config: of one of them, its precision resolved.
        device: where they are.
        join: whether forward and backward are one program, captured where single steps are.
    """
    if not join:
        return InTurn(kits)
    capture = capture_on(device, config)
    return ArrayStep(kits, config) if capture is None else GraphedArrayStep(kits, config, capture)
