"""Losses and further sums of all members of an array: in one computation, where a loss has a form.

What a form computes of a member hangs on no other, and is what the loss gives of it alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trainables.task import Config

if TYPE_CHECKING:
    from trainables.engine.kit import Kit

# outputs and targets, both (members, batch, ...) -> losses (members,), and sums (members,)
Losses = Callable[[Tensor, Tensor], tuple[Tensor, dict[str, Tensor]]]
# the members' configs and one of their weights, which says device and precision -> the losses;
# made once, before anything is captured
Form = Callable[[Sequence[Config], Tensor], Losses]

# by the function itself: a task with a loss of its own has no form, whatever it was made from
FORMS: dict[Callable[..., Any], Form] = {}


def losses_of(members: Sequence[Kit]) -> Losses:
    """What computes loss and sums of each member; one after another where the loss has no form."""
    steps = [member.step for member in members]
    form = next((form for loss, form in FORMS.items() if loss is steps[0].task.loss), None)
    if form is not None:
        return form([step.config for step in steps], next(members[0].net.parameters()))

    def one_by_one(outputs: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        told = zip(steps, outputs, targets, strict=True)
        found = [step.loss(output, target) for step, output, target in told]
        sums = {name: torch.stack([own[name] for _, own in found]) for name in found[0][1]}
        return torch.stack([loss for loss, _ in found]), sums

    return one_by_one


def add_up(totals: dict[str, Tensor], members: Sequence[Kit], sums: dict[str, Tensor]) -> None:
    """Add up what was measured of all members at once, where the step of each will take it from.

    Args:
        totals: by name, `(members,)`; those that are not there yet are made.
        members: the same at each call.
        sums: by name, `(members,)`.
    """
    for name, values in sums.items():
        if name not in totals:
            totals[name] = values.new_zeros(len(members), dtype=torch.double)
            for member, total in zip(members, totals[name], strict=True):
                member.step.total_in(name, total)
        totals[name].add_(values)
