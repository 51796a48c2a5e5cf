"""Settings that are sound and seldom meant beside one another: told before a study runs.

Such a setting does not follow the other by itself: a default that moves would make one study file
mean two things, and a record holds what differs from the defaults. It is a question, no fault.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from search.spec.cells import make_plan
from search.spec.conflicts import gather
from search.spec.split_sizes import share_for_val, split_sizes, trained_on
from search.spec.study_spec import StudySpec
from search.spec.unread import unread_questions
from trainables import find_task

FEW = 30  # images of a validation split that was cut off; one of them is more than 3 %


def find_questions(spec: StudySpec, data: Sequence[Mapping[str, Any]] = ()) -> dict[str, str]:
    """What a study's author may not have meant; key of the study file -> question.

    Args:
        spec: the study.
        data: fingerprints of its data, where they are known: some hang on how many images it has.
    """
    found = gather(spec, partial(_of_config, spec, _fewest(data)), undecided=False)
    return {**_left_out(spec), **_repeats(spec), **unread_questions(spec), **found}


def _fewest(data: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The smallest data."""
    return min((found for found in data if "train_images" in found), key=trained_on, default=None)


def _of_config(
    spec: StudySpec, data: Mapping[str, Any] | None, config: Mapping[str, Any]
) -> dict[str, str]:
    """Questions of one config: the task's, those of the budget, those of the data."""
    asked = find_task(spec.task).questions(config)
    return {**asked, **_of_budget(spec, config), **_of_data(spec, data, config)}


def _of_budget(spec: StudySpec, config: Mapping[str, Any]) -> dict[str, str]:
    warmup, longest = config.get("warmup_epochs", 0), spec.budget.max_epochs
    if not warmup or warmup > longest:
        return {}  # above it is a fault
    rungs = make_plan(spec).rungs
    if len(rungs) > 1 and warmup >= rungs[0]:
        text = (
            f"lasts until the first rung or longer (budget.grace_epochs = {rungs[0]}), so "
            "configs lose by a learning rate that they have not reached"
        )
        return {"warmup_epochs": text}
    shares = [m for m in config.get("milestones", ()) if m < 1]
    if config.get("schedule") == "step" and shares and warmup > shares[0] * longest:
        text = f"lasts beyond the first drop of lr ({shares[0]:.3g} of {longest} epochs)"
        return {"warmup_epochs": text}
    return {}


def _of_data(
    spec: StudySpec, data: Mapping[str, Any] | None, config: Mapping[str, Any]
) -> dict[str, str]:
    asked, limit = {}, config.get("train_images")
    chooses = bool(spec.space) or config.get("checkpoint_rule") == "best"
    count = limit
    if data is not None:
        sizes = split_sizes(config, data)
        val = sizes["val"] if share_for_val(config, data) else 0
        count = limit or sizes["train"]
        if chooses and val and val < FEW and config.get("val_images") is None:
            asked["val_fraction"] = (
                f"leaves {val} of {trained_on(data)} images for validation, few to choose by; "
                "cut off more, or add images"
            )
    if count is not None and config.get("batch_size", 0) > count:
        asked["batch_size"] = (
            f"is above the {count} training images, so an epoch is one step and a learning rate "
            "has as many steps as epochs"
        )
    return asked


def _given(spec: StudySpec, key: str) -> tuple[Any, ...]:
    """What a study file itself says of a setting; () where it leaves it out."""
    if key in spec.cells:
        return spec.cells[key]
    if key in spec.space:
        return spec.space[key].values or (spec.space[key].low, spec.space[key].high)
    return (spec.fixed[key],) if key in spec.fixed else ()


def _repeats(spec: StudySpec) -> dict[str, str]:
    """Lists alone, of which configs are drawn: each draw may be one that a cell has already."""
    drawn = spec.budget.trials_per_cell
    if spec.sampler not in ("quasi-random", "random") or not spec.space or drawn < 2:
        return {}
    fewest = min(
        math.prod(len(spec.range_of(key, cell).values) for key in spec.space)
        for cell in spec.cell_values()
    )
    if not 0 < fewest <= drawn:
        return {}
    text = (
        f"holds {fewest} config{'s' * (fewest > 1)}, of which budget.trials_per_cell = {drawn} "
        'are drawn one by one: some come twice, some never. sampler = "grid" takes each once'
    )
    return {"space": text}


def _left_out(spec: StudySpec) -> dict[str, str]:
    """Defaults that go with another setting's default."""
    settings = find_task(spec.task).settings
    if "lr" not in settings or _given(spec, "lr") or spec.protocol == "report":
        return {}
    usual = settings["optimizer"].default
    if others := [held for held in _given(spec, "optimizer") if held != usual]:
        text = (
            f"is left out, and {settings['lr'].default:g} is for optimizer = {usual!r}; "
            f"{others[0]} wants another (adam about a hundredth of sgd's): set or search it"
        )
        return {"fixed.lr": text}
    return {}
