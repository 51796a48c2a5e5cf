"""What classification tasks share: loss, evaluation over a split, constant predictors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.engine.arrays.losses import FORMS, Losses
from trainables.task import Config, Evaluation, Setting
from trainables.tasks.class_collapse import health, is_collapsed

EVALUATION_BATCH = {"cpu": 500, "cuda": 2500}
SMOOTHING = Setting(0.0, "share of the target spread over all classes", 0.0, 0.9)


IGNORED = -100  # torch's own: targets that no loss is counted of


def loss(output: Tensor, target: Tensor, config: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean cross-entropy, and the number of correct answers."""
    value = F.cross_entropy(output, target, label_smoothing=config["label_smoothing"])
    return value, {"accuracy": (output.detach().argmax(1) == target).sum()}


def losses(configs: Sequence[Config], weight: Tensor) -> Losses:
    """`loss` of several members of an array at once; see `trainables.engine.arrays.losses`.

    Args:
        configs: the members'; `label_smoothing` may differ.
        weight: any of theirs.

    Returns:
        (outputs `(members, batch, classes)`, targets `(members, batch)`) -> losses, sums.
    """
    shares = weight.new_tensor([config["label_smoothing"] for config in configs])
    smooths, mixed = shares > 0, any(config["label_smoothing"] for config in configs)

    def together(outputs: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        logs = F.log_softmax(outputs, 2)
        each = F.nll_loss(logs.flatten(0, 1), targets.flatten(), reduction="none")
        counted = targets != IGNORED  # as the single loss has it
        count = counted.sum(1)
        found = each.view_as(targets).sum(1) / count
        if mixed:  # where, since 0 times what is not finite is not 0
            all_alike = -logs.mean(2).where(counted, 0.0).sum(1) / count
            found = torch.where(smooths, found.lerp(all_alike, shares), found)
        return found, {"accuracy": (outputs.detach().argmax(2) == targets).sum(1)}

    return together


FORMS[loss] = losses


@torch.no_grad()
def evaluation(
    net: nn.Module,
    inputs: Callable[[Tensor, int], Tensor],
    labels: Tensor,
    names: list[str] | None,
    balanced: bool = False,
) -> Evaluation:
    """Cross-entropy (without label smoothing) and accuracy, a fraction, over a split.

    With them what says whether the network still tells images apart: see `class_collapse`.

    Args:
        net: in evaluation mode.
        inputs: (rows, number of the batch) -> what the network is given of these rows.
        labels: int64 `(n,)`, on the network's device.
        names: of the rows, for a row each in the result; None for none.
        balanced: also `balanced_accuracy`, the mean recall of the classes that occur.
    """
    losses, answers = [], []
    every = torch.arange(len(labels), device=labels.device)
    for number, rows in enumerate(every.split(EVALUATION_BATCH[labels.device.type])):
        output = net(inputs(rows, number))
        losses.append(F.cross_entropy(output, labels[rows], reduction="none"))
        answers.append(output.argmax(1))
    answer = torch.cat(answers)
    metrics = {
        "loss": float(torch.cat(losses).mean()),
        "accuracy": float((answer == labels).double().mean()),
    }
    if balanced:
        metrics["balanced_accuracy"] = balanced_accuracy(answer, labels)
    metrics |= health(answer, labels)
    columns: dict[str, list[Any]] = {}
    if names is not None:
        columns = {"image": names, "truth": labels.tolist(), "prediction": answer.tolist()}
    return Evaluation(metrics, columns, collapsed=is_collapsed(metrics))


def balanced_accuracy(answer: Tensor, labels: Tensor) -> float:
    """Mean over the classes that occur of the share of their rows that is answered right."""
    held = torch.bincount(labels).double()
    right = torch.bincount(labels[answer == labels], minlength=len(held)).double()
    return float((right / held)[held > 0].mean())


def constants(train: Tensor, test: Tensor, classes: int) -> dict[str, dict[str, float]]:
    """Constant predictors on test: what a network must beat.

    The loss of the majority class alone is infinite, so it has none. The least loss that one
    prediction for all images can have is that of the shares that classes have in training, as far
    as these are test's; it is infinite, and left out, where test has a class that training lacks.

    Args:
        train: labels `(n,)` trained on.
        test: labels `(m,)`.
        classes: how many there are.
    """
    counts = torch.bincount(train)
    found = {
        **uniform_guess(classes),
        "majority class": {"accuracy": float((test == int(counts.argmax())).double().mean())},
    }
    held = torch.bincount(test, minlength=len(counts)).double()
    shares = torch.zeros_like(held)
    shares[: len(counts)] = counts.double() / len(train)
    loss = float(-torch.xlogy(held, shares).sum() / len(test))
    return found | ({"class shares": {"loss": loss}} if math.isfinite(loss) else {})


def uniform_guess(classes: int) -> dict[str, dict[str, float]]:
    """Every class equally likely."""
    return {"uniform guess": {"loss": math.log(classes), "accuracy": 1 / classes}}
