"""What the columns of a source are: by a small TOML file, else guessed, which is told."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from search.record.foreign.map_file import Map
from search.record.foreign.names import FORM, known_mode, quantity_of, split_of
from search.record.foreign.runs import METRIC, SETTING, Source
from trainables.errors import UserError

TRIALS = ("run_id", "Run ID", "ID", "id", "trial_id", "trial", "run", "Name", "name")
EPOCHS = ("epoch", "Epoch", "epochs", "training_iteration", "step", "Step", "_step", "iteration")
SEEDS = ("seed", "random_seed", "rng_seed", "manual_seed", "random_state", "torch_seed")
STATES = ("State", "state", "status", "Status")
SECONDS = ("Runtime", "_runtime", "time_total_s", "train_seconds", "seconds", "duration_s")
RATES = ("lr", "learning_rate", "learningrate")
CELLS = (
    *("depth", "pretrained", "network", "model", "arch", "architecture", "backbone"),
    *("part", "dataset", "stem", "head", "init"),
)
SPACE = (
    *("lr", "learning_rate", "weight_decay", "wd", "momentum", "batch_size", "dropout"),
    *("label_smoothing", "warmup_epochs", "optimizer", "learningrate"),
)


@dataclass
class Meaning:
    """What each column is.

    Attributes:
        given: the map.
        trial, epoch, seed, stage, state, seconds: columns; "" where there is none.
        rate: column of the learning rate of each epoch; "" where there is none.
        metric: column of the main metric, `quantity` its name here, `mode` and `split` of it.
        test: column of it on test; "" where there is none.
        curves: column -> name here, of every metric that is kept, the main one first.
        tests: column -> quantity, of metrics on test.
        cells, space: columns.
        constant: columns of settings, by their names, that are the same in every run.
        left_out: columns that are nothing of these.
        guesses: what was not given, a line each.
    """

    given: Map
    trial: str = ""
    epoch: str = ""
    seed: str = ""
    stage: str = ""
    state: str = ""
    seconds: str = ""
    rate: str = ""
    metric: str = ""
    quantity: str = ""
    mode: str = ""
    split: str = ""
    test: str = ""
    curves: dict[str, str] = field(default_factory=dict)
    tests: dict[str, str] = field(default_factory=dict)
    cells: list[str] = field(default_factory=list)
    space: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    constant: list[str] = field(default_factory=list)
    guesses: list[str] = field(default_factory=list)

    @property
    def settings(self) -> list[str]:
        """Columns that make a run's cell and config."""
        return [*self.cells, *self.space]

    def key(self, column: str) -> str:
        """The name of a setting here, which files are named after: point/depth is depth.

        Where two columns end alike both keep their whole names, as far as a file can have them.
        """
        last = re.split(r"[/.]", column)[-1]
        ends = [re.split(r"[/.]", name)[-1] for name in self.settings]
        name = last if ends.count(last) < 2 and last else column
        return re.sub(r"[^\w-]+", "_", name)


def meaning_of(source: Source, given: Map, where: str) -> Meaning:
    """What the columns are that are not settings; see `with_settings` for those.

    Args:
        source: as read.
        given: the map.
        where: what is named in messages: the map file, else --map.

    Raises:
        UserError: a column that is named is not there, or what must be known cannot be guessed.
    """
    _require_columns(source, given, where)
    found = Meaning(given)
    taken = {*given.leave_out, *(given.space or ()), *given.also}  # a cell may be of one run
    for key, names in (
        ("trial", () if source.grouped else TRIALS),
        ("epoch", (source.epoch,) if source.epoch else EPOCHS),
        *(("seed", SEEDS), ("stage", ("stage",)), ("state", STATES), ("seconds", SECONDS)),
    ):
        setattr(found, key, _one(source, given, found, key, [n for n in names if n not in taken]))
    _metrics(source, found, where)
    return found


def _require_columns(source: Source, given: Map, where: str) -> None:
    listed = [(key, getattr(given, key)) for key in (
        *("trial", "epoch", "metric", "test", "seed", "stage", "state", "seconds"),
    )]  # fmt: skip
    for key in ("cells", "space", "leave_out", "also", "units"):
        listed += [(key, name) for name in getattr(given, key) or ()]
    for key, name in listed:
        if name and name not in source.columns and not (key == "cells" and name in given.fixed):
            raise UserError(
                f"{where}: {key}: {source.file} has no column {name!r}; it has "
                f"{shown(source.columns)}"
            )
    homes: dict[str, str] = {}
    for key, name in listed:
        if (key, homes.get(name)) == ("cells", "trial"):
            continue
        if name and key != "units" and homes.setdefault(name, key) != key:
            raise UserError(
                f"{where}: column {name!r} is {homes[name]} and {key}; it has one home"
            )
    if source.grouped and given.trial:
        raise UserError(f"{where}: trial: {source.kind} knows its runs; leave the key out")
    if both := sorted(set(given.fixed) & set(source.columns)):
        raise UserError(
            f"{where}: fixed.{both[0]}: {source.file} has a column {both[0]}; "
            "leave one of them out"
        )


def base(column: str) -> str:
    """The last part of a setting's name: train_loop_config/lr and config.lr are lr."""
    return re.split(r"[/.]", column)[-1].lower()


def shown(names: Iterable[str], most: int = 30) -> str:
    """Column names in a message."""
    held = list(names)
    more = f" and {len(held) - most} more" if len(held) > most else ""
    return f"{', '.join(held[:most]) or 'none'}{more}"


def _one(source: Source, given: Map, found: Meaning, key: str, names: Sequence[str]) -> str:
    held = getattr(given, key)
    if held is not None:
        return str(held)
    guess = next((name for name in names if name in source.columns), "")
    if key == "seed" and not guess:  # e.g. train_loop_config/seed
        guess = next((column for column in source.columns if base(column) in names), "")
    if guess:
        found.guesses.append(f"{key} = {guess!r}")
    return guess


def _metrics(source: Source, found: Meaning, where: str) -> None:
    given = found.given
    taken = {
        *(found.trial, found.epoch, found.seed, found.stage, found.state, found.seconds),
        *(given.cells or ()), *(given.space or ()), *given.leave_out,
    }  # fmt: skip
    held = [
        name
        for name, kind in source.columns.items()
        if name not in taken and (kind == METRIC or (kind != SETTING and _is_metric(name)))
    ]
    found.metric = given.metric or _main(source, found, held, where)
    if given.metric is None:
        found.guesses.append(f"metric = {found.metric!r}")
    found.quantity = quantity_of(found.metric)
    found.split = given.split or _split(source, found)
    found.mode = given.mode or _mode(source, found, where)
    others = {
        name: f"{split_of(name)}_{quantity_of(name)}"
        for name in held
        if split_of(name) and _is_metric(name)
    }
    main = f"{found.split}_{found.quantity}"
    found.curves = {found.metric: main}
    for name, here in {**others, **given.also}.items():
        _add_curve(found, name, here, where)
    _tests(source, found, held)


def _is_metric(name: str) -> bool:
    return bool(known_mode(quantity_of(name)))


def _add_curve(found: Meaning, name: str, here: str, where: str) -> None:
    """Another metric; of a name that is taken the first counts, unless the map has it."""
    if name in (found.metric, found.given.test):
        return
    if not FORM.fullmatch(here):
        raise UserError(
            f"{where}: also.{name}: {here!r} must be train_, val_ or test_ and a metric, "
            "e.g. val_loss"
        )
    if here in found.curves.values():
        if name in found.given.also:
            raise UserError(f"{where}: also.{name}: {here} is another column's name already")
        found.left_out.append(name)
    elif here.startswith(("train_", f"{found.split}_")):
        found.curves[name] = here
    elif name in found.given.also and not here.startswith("test_"):
        raise UserError(
            f"{where}: also.{name}: {here} is of another split than the metric, {found.split}"
        )


def _tests(source: Source, found: Meaning, held: Sequence[str]) -> None:
    """Columns of test scores, where the metric is of validation."""
    given = found.given
    if found.split == "test":
        return
    own = [n for n in held if split_of(n) == "test" and quantity_of(n) == found.quantity]
    found.test = given.test or (own[0] if len(own) == 1 else "")
    if not found.test:
        found.left_out += own
        return
    if given.test is None:
        found.guesses.append(f"test = {found.test!r}")
    found.tests = {found.test: found.quantity}
    for name in held:
        if split_of(name) == "test" and name not in own and _is_metric(name):
            quantity = quantity_of(name)
            if f"val_{quantity}" in found.curves.values() and quantity not in found.tests.values():
                found.tests[name] = quantity


def _main(source: Source, found: Meaning, held: Sequence[str], where: str) -> str:
    """The one column that can only be it: accuracy before loss, validation before test."""
    if len(source.modes) == 1:
        return next(iter(source.modes))
    for splits in (("val",), ("",), ("test",)):
        for mode in ("max", "min"):
            names = [
                n
                for n in held
                if split_of(n) in splits
                and known_mode(quantity_of(n)) == mode
                and n not in found.given.also
            ]
            if len(names) == 1:
                return names[0]
            if names:
                raise UserError(
                    f"{source.file}: which metric ranks runs cannot be told: {shown(names)}; name "
                    f'one in {where}, e.g. metric = "{names[0]}"'
                )
    own = {found.trial, found.epoch, found.seed, found.stage, found.state, found.seconds}
    rest = [n for n in source.columns if n not in own and base(n) not in (*CELLS, *SPACE)]
    rest = list(held) or rest
    raise UserError(
        f"{source.file}: no column says by its name that it is a metric of validation or test; "
        f'name it in {where}, e.g. metric = "{(rest or ["val_accuracy"])[0]}"; columns are '
        f"{shown(rest)}"
    )


def _split(source: Source, found: Meaning) -> str:
    held = split_of(found.metric)
    if held == "train":
        raise UserError(
            f"{source.file}: the metric {found.metric} is of training images, by which no run is "
            'chosen here; name one of validation: metric = ..., or say split = "val" where its '
            "name misleads"
        )
    found.guesses.append(
        f'split = "{held or "val"}"'
        + " (its name says none; if it is test's, say so)" * (not held)
    )
    return held or "val"


def _mode(source: Source, found: Meaning, where: str) -> str:
    held = source.modes.get(found.metric) or known_mode(found.quantity)
    if not held:
        raise UserError(
            f"{source.file}: whether more or less {found.metric} is better cannot be told; say "
            f'mode = "max" or mode = "min" in {where}'
        )
    found.guesses.append(f'mode = "{held}"')
    return held


def with_settings(
    source: Source, found: Meaning, values: Mapping[str, Collection[Any]], where: str
) -> None:
    """Add cells and space.

    Args:
        source: as read.
        found: with all else; changed.
        values: column -> the different values that runs have, of columns that are one a run.
        where: see `meaning_of`.

    Raises:
        UserError: there is no cell to be guessed.
    """
    given = found.given
    own = {
        *(found.trial, found.epoch, found.seed, found.stage, found.state, found.seconds),
        *(found.metric, found.test, *found.curves, *found.tests, *given.leave_out, *given.also),
        *([] if len(values.get(found.rate, ())) > 1 else [found.rate]),
    }
    free = [name for name in source.columns if name not in own and name not in found.left_out]
    vary = [name for name in free if len(values.get(name, ())) > 1]
    known = [n for n in vary if base(n) in CELLS and n not in (given.space or ())]
    found.cells = list(given.cells if given.cells is not None else known)
    if given.cells is None:
        alone = [n for n in free if base(n) in CELLS and values.get(n)]
        found.cells = found.cells or [n for n in alone if n not in (given.space or ())][:1]
        if found.cells:
            found.guesses.append(f"cells = {found.cells}")
    rest = [n for n in vary if n not in found.cells]
    searched = [n for n in rest if source.columns[n] == SETTING or base(n) in SPACE]
    found.space = list(given.space if given.space is not None else searched)
    if given.space is None and found.space:
        found.guesses.append(f"space = {found.space}")
    if not found.cells and not found.space:
        how = f'say in {where} what it is of, e.g. cells = ["model"] and fixed.model = "mine"'
        if named := rest or [found.trial] * bool(found.trial):
            how = (
                f'name it in {where}, e.g. cells = ["{named[0]}"]; columns that differ between '
                f"runs are {shown(rest)}"
            )
        raise UserError(
            f"{source.file}: what is compared cannot be told: no column is called depth, model or "
            f"the like; {how}"
        )
    known_names = {*CELLS, *SPACE}
    found.constant = [n for n in free if len(values.get(n, ())) == 1 and base(n) in known_names]
    kept = {*found.settings, *found.constant, *own}
    found.left_out += [n for n in source.columns if n not in kept and n not in found.left_out]
    found.left_out += [n for n in given.leave_out if n not in found.left_out]
