"""Settings of a study that do not go together, looked for in every config that it may draw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from search.spec.unread import toml
from trainables import find_task

if TYPE_CHECKING:
    from search.spec.study_spec import StudySpec

MOST_CONFIGS = 10_000  # of a study that are looked at, one by one

Options = Mapping[str, tuple[Any, ...]]
Look = Callable[[Mapping[str, Any]], dict[str, str]]  # config -> what it finds, by setting


def find_conflicts(spec: StudySpec) -> dict[str, str]:
    """What is wrong with settings that are each sound, with the values at fault; key -> fault."""
    return gather(spec, partial(_faults, spec))


def gather(spec: StudySpec, look: Look, undecided: bool = True) -> dict[str, str]:
    """What `look` finds in any config that a study may draw, with the values that make it.

    Every [[points]] entry is looked at in every cell; without points, every combination of listed
    values and of both ends of ranges, in every cell. Only settings that `look` reads are
    combined, which leaves few. Where they are more than MOST_CONFIGS all the same, a list of
    numbers counts by its smallest and largest, as a range does; lists of texts and of true and
    false stay whole.

    Args:
        spec: the study.
        look: what it finds must hang on equality with a choice, on which of two numbers is larger
            or on bounds of them, so that the ends of a range show it.
        undecided: name all values that differ where none of them alone decides.

    Returns:
        Key of the study file -> what was found.
    """
    found: dict[str, tuple[str, str]] = {}
    total, times = 0, Counter[str]()
    most = max(100, MOST_CONFIGS // len(spec.cell_values()))
    for cell in spec.cell_values():
        for where, base, options in _drawn(spec, cell):
            every = _looked(look, base, options, most) or _looked(look, base, _ends(options))
            for key, text, config, read in (fault for faults in every for fault in faults):
                name = f"{home(spec, key, where)}.{key}"
                if name not in found:
                    found[name] = text, _where(spec, look, key, config, read, undecided)
                times[name] += 1
            total += len(every)
    # one that is in every config is not made by the values of one of them
    return {n: text + told * (times[n] < total) for n, (text, told) in found.items()}


def _drawn(
    spec: StudySpec, cell: Mapping[str, Any]
) -> Iterator[tuple[str, dict[str, Any], dict[str, tuple[Any, ...]]]]:
    """Where configs of a cell stand in the file, their settings, and what is open in them."""
    if spec.points:
        for number, point in enumerate(spec.points):
            yield f"points.{number}", spec.config(cell, point), {}
        return
    options = {}
    for key in spec.space:
        held = spec.range_of(key, cell)
        assert held.values or (held.low is not None and held.high is not None)
        # a whole setting's ends are rounded as they are when drawn
        turn: Callable[[Any], Any] = round if held.integer else float
        options[key] = held.values or (turn(held.low), turn(held.high))
    yield "", spec.config(cell, {}), options


def _ends(options: Options) -> dict[str, tuple[Any, ...]]:
    """Lists of numbers cut down to their smallest and largest."""
    return {
        key: values
        if any(isinstance(value, (bool, str)) for value in values)
        else (min(values), max(values))
        for key, values in options.items()
    }


class _OpenError(BaseException):
    """A check has read a setting that is still open; carries its key.

    No Exception: a check of the user's own, or what calls it, may catch every one of these.
    """


class _Partly(Mapping[str, Any]):
    """A config in which some settings are open: to read one of them raises _OpenError."""

    def __init__(self, held: Mapping[str, Any], open_: Options) -> None:
        self._held, self._open = held, open_

    def __getitem__(self, key: str) -> Any:
        if key in self._open:
            raise _OpenError(key)
        return self._held[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)


def _looked(
    look: Look, base: dict[str, Any], options: Options, most: int | None = None
) -> list[list[tuple[str, str, dict[str, Any], Options]]]:
    """Of each config the faults: key, text, config, what was read; [] if there are over `most`.

    A setting is given each of its values when a check first reads it: two configs that differ in
    what was not read have the same faults, so this is every combination without visiting it.
    """
    found: list[list[tuple[str, str, dict[str, Any], Options]]] = []
    waiting: list[tuple[dict[str, Any], dict[str, tuple[Any, ...]]]] = [(base, dict(options))]
    while waiting:
        config, left = waiting.pop()
        try:
            faults = look(_Partly(config, left))
        except _OpenError as error:
            key = error.args[0]
            rest = {name: values for name, values in left.items() if name != key}
            waiting += [({**config, key: value}, rest) for value in reversed(left[key])]
            continue
        if most is not None and len(found) == most:
            return []
        read = {key: values for key, values in options.items() if key not in left}
        found.append([(key, text, config, read) for key, text in faults.items()])
    return found


def _faults(spec: StudySpec, config: Mapping[str, Any]) -> dict[str, str]:
    """Faults of one config: the task's, and those against the budget."""
    faults = find_task(spec.task).conflicts(config)
    longest = spec.budget.max_epochs
    if config.get("warmup_epochs", 0) > longest:
        faults["warmup_epochs"] = f"is above budget.max_epochs ({longest}), so lr is never reached"
    return faults


def home(spec: StudySpec, key: str, where: str) -> str:
    """The table that a setting stands in."""
    if where and key in spec.space:
        return where
    return next((table for table in ("cells", "space") if key in getattr(spec, table)), "fixed")


def _where(
    spec: StudySpec,
    look: Look,
    key: str,
    config: Mapping[str, Any],
    read: Options,
    undecided: bool,
) -> str:
    """The values that make the fault: of what varies, those without which it is gone."""
    varied = {**spec.cells, **read}
    if spec.points:
        varied |= {name: tuple(point[name] for point in spec.points) for name in spec.space}
    decisive = [
        name
        for name, values in varied.items()
        if any(key not in look({**config, name: value}) for value in values)
    ]
    # each alone may not mend it: then all that differ are told
    differ = [name for name, values in varied.items() if len(values) > 1]
    named = decisive or (differ if undecided else [])
    # a range may hold in some cells only
    of_cells = {of for name in named if name in read for of in _conditions(spec, name)}
    named = [name for name in varied if name in named or name in of_cells & set(spec.cells)]
    told = ", ".join(f"{name} = {toml(config[name])}" for name in named)
    return f" (where {told})" if told else ""


def _conditions(spec: StudySpec, key: str) -> set[str]:
    return {name for condition in spec.space[key].when for name in condition.where()}
