"""The update of all members of an array in three kernels, whatever their optimizers.

A member's own step makes one call a list of tensors for clipping, optimizer and averages: with all
of it 18 launches a member at depth 18, and 64 bytes a weight (benchmarks/updates.py). Here it is 3
for all and 32, since gradients are scaled and averages follow while the weights are at hand.
Weights, state and averages stay the tensors that each member's optimizer and checkpoint have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from trainables.engine.kit import Kit

# numbers that a program takes; in Triton's interpreter a program is Python
BLOCK = {"cuda": 2048, "cpu": 2**17}
PIECE = 1024

Row = list[int]  # see update_kernels


class Update:
    """Clip, step, average: of all members, as the step of each does it.

    Gradients may lie elsewhere at each call. In a capture they are where the graph will have them
    each time, which is noted after it: see `captured`.

    Args:
        members: on one device, in one precision; their optimizers have state, and rates that are
            tensors.

    Raises:
        ValueError: a state or gradient is not laid out as its weight is.
    """

    def __init__(self, members: Sequence[Kit]) -> None:
        import triton.language as tl  # not there on every machine

        from trainables.kernels import update_kernels as kernels

        self._kernels: Any = kernels
        rate = members[0].optimizer.param_groups[0]["lr"]
        self._weights: list[Tensor | None] = []
        rows: list[Row] = []
        chunks: list[list[int]] = []
        extents: list[list[int]] = []
        for number, member in enumerate(members):
            before = len(chunks), len(rows)
            rows += self._rows(member, number)
            weight = next(member.net.parameters())
            block = BLOCK[weight.device.type]
            for at in range(before[1], len(rows)):
                chunks += [[at, start] for start in range(0, rows[at][7], block)]
            average = member.step.average
            steps = 0 if average is None else average.steps.data_ptr()
            extents.append([before[0], len(chunks), before[1], len(rows), steps])
        device, dtype = weight.device, weight.dtype
        names = {torch.float32: tl.float32, torch.float64: tl.float64}
        self._block, self._types = block, (names[dtype], names[rate.dtype])
        self._table = torch.tensor(rows)
        self._tensors = self._table.to(device)
        self._chunks = torch.tensor(chunks, device=device)
        self._extents = torch.tensor(extents, device=device)
        told = [_settings(member) for member in members]
        self._settings = torch.tensor(told, dtype=torch.double, device=device)
        self._clips = any(own[0] for own in told)
        self._counts = any(own[1] or own[4] for own in told)
        self._parts = torch.zeros(len(chunks), dtype=dtype, device=device)
        self._scales, self._moves = (self._settings.new_ones(len(told)) for _ in range(2))
        self._corrections = self._settings.new_ones(len(rows), 2)

    def __call__(self) -> None:
        """Update by the gradients that the weights have.

        Raises:
            ValueError: one has none, or another layout than its weight.
        """
        if any(w is not None and w.grad is None for w in self._weights):
            raise ValueError("a weight has no gradient")
        self._table[:, 1] = torch.tensor(
            [0 if w is None else _address(w.grad, w) for w in self._weights]
        )
        if not (self._tensors.is_cuda and torch.cuda.is_current_stream_capturing()):
            self._tensors.copy_(self._table)
        tensors, chunks, held = self._tensors, self._chunks, self._settings
        of, (kind, rates) = self._kernels, self._types
        if self._clips:
            of.squares[(len(chunks),)](tensors, chunks, held, self._parts, self._block, kind)
        made = self._scales, self._moves, self._corrections
        if self._clips or self._counts:
            of.prepare[(len(held),)](tensors, self._extents, held, self._parts, *made, PIECE)
        of.update[(len(chunks),)](tensors, chunks, held, *made, self._block, kind, rates)

    def captured(self) -> None:
        """A capture is over: note where its gradients are."""
        self._tensors.copy_(self._table)

    def _rows(self, member: Kit, number: int) -> list[Row]:
        """A row for each tensor of a member."""
        average, kinds, rows = member.step.average, self._kernels, []
        averages = {id(one): (one, mean) for one, mean in (average.pairs if average else ())}
        decoupled = isinstance(member.optimizer, torch.optim.AdamW)
        for group in member.optimizer.param_groups:
            kind = kinds.SGD if "momentum" in group else kinds.ADAMW if decoupled else kinds.ADAM
            for weight in group["params"]:
                state = member.optimizer.state.get(weight, {})
                first, second = state.get("momentum_buffer"), state.get("exp_avg_sq")
                first = state.get("exp_avg", first)
                _, mean = averages.pop(id(weight), (weight, None))
                steps = 0 if second is None else state["step"].data_ptr()
                row = [weight.data_ptr(), 0, _address(first, weight), _address(second, weight)]
                row += [steps, group["lr"].data_ptr(), _address(mean, weight)]
                rows.append([*row, weight.numel(), number, kind.value])
                self._weights.append(weight)
        for value, mean in averages.values():  # statistics
            row = [value.data_ptr(), 0, 0, 0, 0, 0, _address(mean, value)]
            rows.append([*row, value.numel(), number, kinds.NONE.value])
            self._weights.append(None)
        return rows


def _settings(member: Kit) -> list[float]:
    group, average = member.optimizer.param_groups[0], member.step.average
    shared = [member.step.clip, 0.0 if average is None else average.decay, group["weight_decay"]]
    if "momentum" in group:
        return [*shared, group["momentum"], 0.0, 0.0, float(group["nesterov"])]
    return [*shared, *group["betas"], group["eps"], 0.0]


def _address(held: Tensor | None, weight: Tensor) -> int:
    """Where a tensor of a weight's lies, number by number as the weight does; 0 of none."""
    if held is None:
        return 0
    sides = zip(weight.shape, held.stride(), weight.stride(), strict=True)
    alike = held.shape == weight.shape and held.dtype == weight.dtype
    if not alike or any(size > 1 and one != other for size, one, other in sides):
        raise ValueError(
            f"a state of {tuple(held.shape)} is laid out in another way than its weight"
        )
    return held.data_ptr()
