"""StudySpec and load_spec: a TOML study file to frozen models; the only place that validates.

Every fault of a file is reported at once, by key: those of form, which pydantic finds, and with
them those that need the task's settings, which are looked for in the raw file.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from search.overrides import apply_overrides
from trainables import TASKS
from trainables.task import Setting, Task

Value = bool | int | float | str
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


class SpecError(ValueError):
    """A study file is faulty; the message lists every fault by key."""


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _choices(value: Any) -> Any:
    """`lr = [0.1, 0.01]` is short for `lr = {values = [0.1, 0.01]}`."""
    return {"values": tuple(value)} if isinstance(value, list) else value


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Range(_Model):
    """Values that a searched parameter may take: a range, or a list of choices."""

    low: float | None = None
    high: float | None = None
    log: bool = False
    integer: bool = False
    values: Annotated[tuple[Value, ...], BeforeValidator(_tuple)] = ()


class Condition(Range):
    """A range that holds where cell parameters have these values, instead of the general one."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    def where(self) -> dict[str, Value]:
        """The cell values asked for."""
        return dict(self.model_extra or {})


class Space(Range):
    """A searched parameter: its range, and other ranges under conditions (the first that fits)."""

    when: Annotated[tuple[Condition, ...], BeforeValidator(_tuple)] = ()

    def at(self, cell: Mapping[str, Value]) -> Range:
        """The range in this cell; a condition inherits `log` and `integer` unless it has them."""
        for condition in self.when:
            if all(cell.get(key) == value for key, value in condition.where().items()):
                general = {"log": self.log, "integer": self.integer}
                own = condition.model_dump(include=set(Range.model_fields), exclude_unset=True)
                return Range(**general | own)
        return self


class Budget(_Model):
    """How much a cell's search may spend.

    Attributes:
        trials_per_cell: configs drawn in each cell.
        max_epochs: epochs of a full training.
        grace_epochs: the first rung.
        reduction_factor: eta; of n trials at a rung, max(full_per_cell, floor(n / eta)) go on.
        full_per_cell: trials a cell trains to the end at the least.
    """

    trials_per_cell: int = Field(1, ge=1)
    max_epochs: int = Field(ge=1)
    grace_epochs: int = Field(1, ge=1)
    reduction_factor: float = Field(3.0, gt=1)
    full_per_cell: int = Field(1, ge=1)


class Confirm(_Model):
    """The winner of each cell is trained again, in full, once a seed."""

    seeds: Annotated[tuple[int, ...], BeforeValidator(_tuple)] = ()


class Resources(_Model):
    """What one trial takes.

    Attributes:
        gpus_per_trial: a number, a table by depth, or "auto": one GPU where there is any.
        cpus_per_trial: also the number of CPU threads of a trial.
    """

    gpus_per_trial: Literal["auto"] | float | dict[str, float] = "auto"
    cpus_per_trial: float = Field(default=1.0, gt=0)


class StudySpec(_Model):
    """A declared comparison; see the study files in search/studies for examples."""

    name: str = Field(pattern=NAME)
    task: str
    description: str = ""
    seed: int = Field(0, ge=0)
    protocol: Literal["honest", "report"] = "honest"
    scheduler: Literal["cell-asha", "none"] = "cell-asha"
    sampler: Literal["quasi-random", "random", "tpe"] = "quasi-random"
    weights: Literal["imagenet1k_v1", "synthetic"] = "imagenet1k_v1"
    cells: dict[str, Annotated[tuple[Value, ...], BeforeValidator(_tuple)]] = Field(min_length=1)
    space: dict[str, Annotated[Space, BeforeValidator(_choices)]] = {}
    fixed: dict[str, Value | Annotated[tuple[float, ...], BeforeValidator(_tuple)]] = {}
    budget: Budget
    confirm: Confirm = Confirm()
    resources: Resources = Resources()
    retries: int = Field(1, ge=0)
    checkpoint_seconds: float = Field(600.0, gt=0)
    keep_checkpoints: bool = False

    def cell_values(self) -> list[dict[str, Value]]:
        """Values of every cell, in the order of the file."""
        return [dict(zip(self.cells, v, strict=True)) for v in product(*self.cells.values())]

    def config(self, cell: Mapping[str, Value], drawn: Mapping[str, Value]) -> dict[str, Any]:
        """Every setting of the task for a config in a cell."""
        task = TASKS[self.task]
        protocol = task.report_settings if self.protocol == "report" else {}
        defaults = {key: setting.default for key, setting in task.settings.items()}
        return {**defaults, **protocol, **self.fixed, **cell, **drawn}


def find_study(name: str) -> Path:
    """Path of a study: a file, or the name of a shipped one.

    Raises:
        SpecError: neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    shipped = shipped_studies()
    if name in shipped:
        return shipped[name]
    if path.suffix == ".toml":
        raise SpecError(f"{name}: no such file")
    raise SpecError(
        f"{name}: no such file, and no shipped study; shipped are {', '.join(shipped)}"
    )


def shipped_studies() -> dict[str, Path]:
    """Name -> file of the studies that come with the package."""
    folder = Path(str(files("search"))) / "studies"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_spec(path: Path, overrides: list[str] | None = None) -> tuple[StudySpec, str]:
    """Read and check a study file.

    Args:
        path: TOML file.
        overrides: `key=value` strings, dotted keys, TOML values; see search.overrides.

    Returns:
        The spec, and the text of the file.

    Raises:
        SpecError: with every fault found.
    """
    try:
        text = path.read_text(encoding="utf-8")
        raw = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SpecError(f"{path}: cannot be read as TOML: {error}") from error
    try:
        raw = apply_overrides(raw, overrides or [])
    except ValueError as error:
        raise SpecError(f"{path}: {error}") from error
    return parse_spec(raw, str(path)), text


def parse_spec(raw: dict[str, Any], source: str) -> StudySpec:
    """Check a study given as a dict.

    Raises:
        SpecError: with every fault found, each with its key.
    """
    faults: dict[str, str] = {}
    spec = None
    try:
        spec = StudySpec.model_validate(raw)
    except ValidationError as error:
        for fault in error.errors(include_url=False):
            key = ".".join(str(part) for part in fault["loc"] if not _is_branch(part))
            faults.setdefault(key, _worded(fault))
    for key, text in {**_budget_faults(raw), **_task_faults(raw)}.items():
        faults.setdefault(key, text)
    if spec is not None and not faults:
        faults = _conflicts(spec)
    if faults:
        lines = [f"  {key or 'file'}: {text}" for key, text in faults.items()]
        count = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}"
        raise SpecError("\n".join([f"{source}: {count}", *lines]))
    assert spec is not None
    return spec


def _is_branch(part: Any) -> bool:
    """Pydantic puts the tried type of a union into the key; it is none of the file's."""
    return part in ("bool", "int", "float", "str") or "literal[" in str(part) or "[" in str(part)


def _worded(fault: Any) -> str:
    """Pydantic's message, with the bad value; an unknown key gets the nearest known one."""
    if fault["type"] == "missing":
        return "must be given"
    if fault["type"] == "extra_forbidden":
        models: dict[str, type[BaseModel]] = {
            "budget": Budget,
            "confirm": Confirm,
            "resources": Resources,
            "space": Space,
        }
        *above, key = fault["loc"]
        known = (models[above[0]] if above and above[0] in models else StudySpec).model_fields
        near = difflib.get_close_matches(str(key), known, 1)
        return f"no such key{f'; did you mean {near[0]}?' if near else ''}"
    return f"{fault['msg']}, not {fault['input']!r}"


def _table(raw: Any, key: str) -> dict[str, Any]:
    found = raw.get(key)
    return found if isinstance(found, dict) else {}


def _budget_faults(raw: dict[str, Any]) -> dict[str, str]:
    budget, faults = _table(raw, "budget"), {}
    numbers = {k: v for k, v in budget.items() if isinstance(v, int) and not isinstance(v, bool)}
    most, trials = numbers.get("max_epochs"), numbers.get("trials_per_cell", 1)
    if most is not None and numbers.get("grace_epochs", 1) > most:
        faults["budget.grace_epochs"] = f"is above max_epochs ({most}); no rung is left"
    if _table(raw, "space") and numbers.get("full_per_cell", 1) > trials:
        faults["budget.full_per_cell"] = (
            f"promises {numbers['full_per_cell']} full trainings a cell of {trials} trials; raise "
            "budget.trials_per_cell"
        )
    if not _table(raw, "space") and trials > 1:
        faults["budget.trials_per_cell"] = (
            f"{trials} trials need something to differ in: add [space.lr], or leave it out and "
            "repeat over confirm.seeds"
        )
    seeds = _table(raw, "confirm").get("seeds", [])
    if isinstance(seeds, list) and len(set(map(repr, seeds))) < len(seeds):
        faults["confirm.seeds"] = f"the same seed twice in {seeds}"
    return faults


def _task_faults(raw: dict[str, Any]) -> dict[str, str]:
    """Faults of cells, space and fixed against the settings of the task."""
    if raw.get("task") not in TASKS:
        return {"task": f"must be one of {', '.join(TASKS)}, not {raw.get('task')!r}"}
    task = TASKS[raw["task"]]
    cells, space, fixed = (_table(raw, key) for key in ("cells", "space", "fixed"))
    faults = {}
    for table, key in [(t, k) for t in ("cells", "space", "fixed") for k in _table(raw, t)]:
        if key not in task.settings:
            faults[f"{table}.{key}"] = _unknown(key, task)
    for key, values in cells.items():
        if isinstance(values, list) and key in task.settings:
            faults.update(_list_faults(f"cells.{key}", values, task.settings[key]))
    for key, value in fixed.items():
        if key in task.settings and (text := task.settings[key].fault(value)):
            faults[f"fixed.{key}"] = text
    for key, entry in space.items():
        if key in task.settings:
            faults.update(_space_faults(key, entry, task.settings[key], cells))
    for key in (
        cells.keys() & fixed.keys() | cells.keys() & space.keys() | fixed.keys() & space.keys()
    ):
        homes = [name for name in ("cells", "space", "fixed") if key in _table(raw, name)]
        faults[f"{homes[-1]}.{key}"] = f"is also in [{homes[0]}]; a parameter has one home"
    return faults


def _unknown(key: str, task: Task) -> str:
    near = difflib.get_close_matches(key, task.settings, 1)
    hint = (
        f"; did you mean {near[0]}?" if near else f"; known are {', '.join(sorted(task.settings))}"
    )
    return f"no setting of task {task.name}{hint}"


def _list_faults(key: str, values: list[Any], setting: Setting) -> dict[str, str]:
    if not values:
        return {key: "is empty"}
    if len({repr(v) for v in values}) < len(values):
        return {key: f"the same value twice in {values}"}
    for value in values:
        if text := setting.fault(value):
            return {key: text}
    return {}


def _space_faults(key: str, entry: Any, setting: Setting, cells: dict[str, Any]) -> dict[str, str]:
    if isinstance(entry, list):
        return _list_faults(f"space.{key}", entry, setting)
    if not isinstance(entry, dict):
        return {}
    faults = _range_faults(f"space.{key}", entry, setting)
    when = entry.get("when", [])
    for number, condition in enumerate(when if isinstance(when, list) else []):
        if not isinstance(condition, dict):
            continue
        where = f"space.{key}.when.{number}"
        names = set(condition) - set(Range.model_fields)
        for name in names:
            if name not in cells:
                faults[f"{where}.{name}"] = f"is no cell parameter; cells has {', '.join(cells)}"
            elif isinstance(cells[name], list) and condition[name] not in cells[name]:
                faults[f"{where}.{name}"] = f"{condition[name]!r} is not among cells.{name}"
        if not names:
            faults[where] = "names no cell parameter, so it would always hold"
        faults.update(_range_faults(where, condition, setting))
    return faults


def _range_faults(key: str, entry: dict[str, Any], setting: Setting) -> dict[str, str]:
    if isinstance(entry.get("values"), list):
        return _list_faults(f"{key}.values", entry["values"], setting)
    faults = {}
    for end in ("low", "high"):
        value = entry.get(end)
        if end not in entry:
            faults[f"{key}.{end}"] = "must be given (or values = [...])"
        elif text := setting.fault(value):
            faults[f"{key}.{end}"] = text
    low, high = entry.get("low"), entry.get("high")
    if not faults and low >= high:  # type: ignore[operator]
        faults[f"{key}.low"] = f"must be below high ({high}), not {low!r}"
    if not faults and entry.get("log") and low <= 0:  # type: ignore[operator]
        faults[f"{key}.low"] = f"must be above 0 where log = true, not {low!r}"
    return faults


def _conflicts(spec: StudySpec) -> dict[str, str]:
    """What the task finds wrong with a cell's settings taken together."""
    task, faults = TASKS[spec.task], {}
    for cell in spec.cell_values():
        drawn = {}
        for key, space in spec.space.items():
            held = space.at(cell)
            drawn[key] = held.values[0] if held.values else held.low
        config = spec.config(cell, drawn)  # type: ignore[arg-type]
        for key, text in task.conflicts(config).items():
            home = next((t for t in ("cells", "space") if key in getattr(spec, t)), "fixed")
            faults[f"{home}.{key}"] = text
    if spec.protocol == "report" and spec.space:
        faults["space"] = (
            "protocol = 'report' judges by its own habits and cannot choose a config; list the "
            "values under [cells], or use protocol = 'honest'"
        )
    return faults
