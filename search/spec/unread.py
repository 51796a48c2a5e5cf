"""Settings that nothing reads where they stand, by the one table of what each needs.

Compared in [cells] they would give one network two names, so that is refused; elsewhere it is
asked about.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from search.spec.overrides import HOMES
from trainables import find_task
from trainables.settings import READ_WHERE
from trainables.task import Needs

if TYPE_CHECKING:
    from search.spec.study_spec import StudySpec

# refused in [space] too, as they have always been
OF_THE_LOOP = ("momentum", "milestones", "drop_factor")

Options = Mapping[str, tuple[Any, ...]]  # setting -> all that it may be in a cell


def unread_faults(spec: StudySpec) -> dict[str, str]:
    """Compared or searched settings that change nothing; key of the study file -> fault."""
    faults, never = {}, _never_read(spec)
    for key, said in never.items():
        if len(spec.cells.get(key, ())) > 1 or (key in OF_THE_LOOP and key in spec.cells):
            faults[f"cells.{key}"] = said
        elif key in OF_THE_LOOP and key in spec.space:
            faults[f"space.{key}"] = said
    return faults or _repeated(spec)


def unread_questions(spec: StudySpec) -> dict[str, str]:
    """The same of settings that no comparison hangs on: key -> question."""
    asked = {}
    for key, said in _never_read(spec).items():
        home = next((t for t in HOMES if key in getattr(spec, t)), None)
        if home is not None:
            asked[f"{home}.{key}"] = said
    return asked


def _needs(spec: StudySpec) -> dict[str, Needs]:
    """What the task's settings need, of those that it has with all that they hang on."""
    task = find_task(spec.task)
    held = {**READ_WHERE, **task.read_where}
    return {
        key: needs
        for key, needs in held.items()
        if key in task.settings and all(set(way) <= set(task.settings) for way in needs)
    }


def _options(spec: StudySpec, cell: Mapping[str, Any], needs: Mapping[str, Needs]) -> Options:
    """What the settings that others hang on may be in a cell."""
    config = spec.config(cell, {})
    names = dict.fromkeys(name for ways in needs.values() for way in ways for name in way)
    found: dict[str, tuple[Any, ...]] = {}
    for name in names:
        found[name] = (config[name],)
        if spec.points and name in spec.space:
            found[name] = tuple(point[name] for point in spec.points)
        elif name in spec.space:
            found[name] = tuple(spec.range_of(name, cell).values)
    return found


def _is_read(needs: Needs, options: Options) -> bool:
    return any(all(set(way[key]) & set(options[key]) for key in way) for way in needs)


def _never_read(spec: StudySpec) -> dict[str, str]:
    """Settings that are read in no cell -> what they would need, in words."""
    needs = _needs(spec)
    every = [_options(spec, cell, needs) for cell in spec.cell_values()]
    return {
        key: f"changes nothing: {_lacking(key, ways, every)}"
        for key, ways in needs.items()
        if not any(_is_read(ways, options) for options in every)
    }


def _lacking(key: str, ways: Needs, every: list[Options]) -> str:
    """E.g. "head is never 'conv'", or what it needs where there are several ways."""
    if len(ways) == 1:
        for name, values in ways[0].items():
            if not any(set(values) & set(options[name]) for options in every):
                return f"{name} is never {_or(values)}"
    return f"it needs {_ways(key, ways)}"


def _ways(key: str, ways: Needs) -> str:
    said = [
        " and ".join(f"{name} = {_or(values)}" for name, values in way.items()) for way in ways
    ]
    return ", or ".join(dict.fromkeys(text for text in said if text))


def _or(values: tuple[Any, ...]) -> str:
    return " or ".join(toml(value) for value in values)


def toml(value: Any) -> str:
    """A value as a study file has it."""
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _repeated(spec: StudySpec) -> dict[str, str]:
    """Two cells that differ in what neither of them reads: one network under two names."""
    needs, seen = _needs(spec), dict[str, Mapping[str, Any]]()
    for cell in spec.cell_values():
        options = _options(spec, cell, needs)
        read = {k: v for k, v in cell.items() if k not in needs or _is_read(needs[k], options)}
        before = seen.setdefault(repr(read), cell)
        if before is cell:
            continue
        key = next(k for k in cell if cell[k] != before[k])
        named = [name for way in needs[key] for name in way if name != key]
        where = ", ".join(f"{n} = {_or(options[n])}" for n in dict.fromkeys(named))
        return {
            f"cells.{key}": f"changes nothing for {where}, so cells would be the same "
            f"({key} = {toml(before[key])} and {toml(cell[key])}); it needs "
            f"{_ways(key, needs[key])}: compare it in a study of its own"
        }
    return {}
