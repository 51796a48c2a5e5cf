"""StudySpec and load_spec: a TOML study file to frozen models; the only place that validates.

Every fault of a file is reported at once, by key: those of form, which pydantic finds, and with
them those that need the task's settings, which are looked for in the raw file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from search.spec.conflicts import find_conflicts
from search.spec.derived import list_faults, with_derived
from search.spec.faults import (
    HERE,
    budget_faults,
    contrast_faults,
    elsewhere,
    log_faults,
    misplaced,
    settings_of_task,
    task_faults,
    weights_faults,
)
from search.spec.overrides import apply_overrides, key_of
from search.spec.tables import (
    Budget,
    Confirm,
    Contrast,
    Log,
    Range,
    Resources,
    Space,
    Table,
    Value,
    as_choices,
    as_tuple,
)
from search.spec.toml_text import parsed_toml
from search.spec.unread import unread_faults
from trainables import find_task
from trainables.errors import UserError, did_you_mean, reason
from trainables.own_code import import_from

LONGEST = 1000  # characters told of one fault
NO_KEY = "no such key"
FROM_COMMAND = " (set on the command line)"
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


# pydantic's words for what a TOML file's author sees otherwise
WORDS = {
    "tuple_type": "must be a list, e.g. [18]",
    "dict_type": "must be a table",
    "too_short": "must name at least one parameter that is compared, e.g. depth = [18]",
    "model_type": "must be a table, or a list of choices",
    "string_pattern_mismatch": "must be letters, digits, '.', '_', '-', and begin with no sign",
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be {ge:g} or more",
    "less_than": "must be below {lt:g}",
    "less_than_equal": "must be {le:g} or less",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "string_type": "must be text in quotes",
    "literal_error": "must be {expected}",
}


NO_TOKENS = (
    "no such key; keys and tokens stand in no study file, which is on record, but in the "
    "environment: WANDB_API_KEY, MLFLOW_TRACKING_TOKEN"
)


class SpecError(UserError):
    """A study file is faulty; the message lists every fault by key."""


class StudySpec(Table):
    """A declared comparison; see the study files in search/studies for examples."""

    name: str = Field(pattern=NAME)
    task: str
    description: str = ""
    seed: int = Field(0, ge=0)
    protocol: Literal["honest", "report"] = "honest"
    scheduler: Literal["cell-promote", "cell-stop", "ray-asha", "none"] = "cell-promote"
    sampler: Literal["quasi-random", "random", "tpe", "grid", "list"] = "quasi-random"
    points: Annotated[tuple[dict[str, Value], ...], BeforeValidator(as_tuple)] = ()
    weights: str = Field("imagenet1k_v1", pattern=NAME)  # else a folder of the user's own
    cells: dict[str, Annotated[tuple[Value, ...], BeforeValidator(as_tuple)]] = Field(min_length=1)
    space: dict[str, Annotated[Space, BeforeValidator(as_choices)]] = Field(default_factory=dict)
    fixed: dict[str, Value | Annotated[tuple[float, ...], BeforeValidator(as_tuple)]] = Field(
        default_factory=dict
    )
    budget: Budget
    confirm: Confirm = Confirm()
    contrast: Annotated[tuple[Contrast, ...], BeforeValidator(as_tuple)] = ()
    log: Log = Log()
    resources: Resources = Resources()
    retries: int = Field(1, ge=0)  # of a job that failed by its own fault
    losses: int = Field(5, ge=0)  # of a job to its node, process or network, before it fails
    checkpoint_seconds: float = Field(120.0, gt=0)
    stalled_seconds: float = Field(1800.0, ge=60)  # without a step, until a worker is ended
    keep_checkpoints: bool = False

    def cell_values(self) -> list[dict[str, Value]]:
        """Values of every cell, in the order of the file."""
        return [dict(zip(self.cells, v, strict=True)) for v in product(*self.cells.values())]

    def range_of(self, key: str, cell: Mapping[str, Value]) -> Range:
        """What a searched parameter may take in a cell; whole numbers for a whole setting."""
        held = self.space[key].at({**self.fixed, **cell})
        whole = find_task(self.task).settings[key].kind is int
        return held.model_copy(update={"integer": held.integer or whole})

    def own_code(self) -> list[str]:
        """What of the study is the user's own code: `module:ATTRIBUTE` of task and networks."""
        given = self.cells.get("network") or (self.fixed.get("network"),)
        return sorted(str(name) for name in (self.task, *given) if ":" in str(name))

    def config(self, cell: Mapping[str, Value], drawn: Mapping[str, Value]) -> dict[str, Any]:
        """Every setting of the task for a config in a cell."""
        task = find_task(self.task)
        protocol = task.report_settings if self.protocol == "report" else {}
        defaults = {key: setting.default for key, setting in task.settings.items()}
        return {**defaults, **protocol, **self.fixed, **cell, **drawn}


TABLES = {"cells", "space", "fixed", "points", "budget", "confirm", "contrast", "log", "resources"}
TOP = set(StudySpec.model_fields) - TABLES  # keys that stand above the tables


def load_spec(path: Path, overrides: list[str] | None = None) -> tuple[StudySpec, str]:
    """Read and check a study file.

    Args:
        path: TOML file.
        overrides: `key=value` strings, dotted keys, TOML values; see search.spec.overrides.

    Returns:
        The spec, and the text of the file.

    Raises:
        SpecError: with every fault found.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read as TOML: {reason(error)}") from error
    try:
        raw = apply_overrides(parsed_toml(text), overrides or [])
    except ValueError as error:
        raise SpecError(f"{path}: {error}") from error
    given = [".".join(key_of(override)) for override in overrides or []]
    if twice := next((key for key in given if given.count(key) > 1), None):
        raise SpecError(f"{path}: {twice} is set twice on the command line; set it once")
    return parse_spec(raw, str(path), path.parent, given=given), text


def recorded_spec(study: Mapping[str, Any], source: str) -> StudySpec:
    """The study of a run folder, from what its study.json holds; see parse_spec.

    A setting that was not there yet takes what was done then; see Setting.
    """
    if imported := study.get("imported"):
        raise SpecError(
            f"{source}: imported from {imported['file']}, so there is no study to run or to go on "
            "with; write a study file, and `resnet-search run` it"
        )
    spec = parse_spec(study["spec"], source, study.get("task_dir"), begun=True)
    known = {*study["settings"], *spec.cells, *spec.space}
    before = {
        key: setting.before
        for key, setting in find_task(spec.task).settings.items()
        if setting.before is not None and key not in known
    }
    return spec.model_copy(update={"fixed": {**spec.fixed, **before}}) if before else spec


def parse_spec(
    raw: dict[str, Any],
    source: str,
    folder: Path | str | None = None,
    begun: bool = False,
    given: Collection[str] = (),
) -> StudySpec:
    """Check a study given as a dict.

    Args:
        raw: the study file, parsed.
        source: its name.
        folder: where a task of the user's own is imported from, beside what is installed.
        begun: it has been run, so that cells which differ in nothing that is read may go on.
        given: keys that the command line sets; their faults are said to be its own.

    Raises:
        SpecError: with every fault found, each with its key.
    """
    faults: dict[str, str] = {}
    spec = None
    raw = with_derived(raw)
    if folder is not None and _names_code(raw):
        import_from(folder)
    try:
        spec = StudySpec.model_validate(raw)
    except ValidationError as error:
        settings = settings_of_task(raw)
        for fault in error.errors(include_url=False):
            key = ".".join(str(part) for part in fault["loc"] if not _is_branch(part))
            # a key that may be of several types is told what each of them asks for
            faults[key] = (
                f"{faults[key]}; or: {_worded(fault, settings)}"
                if key in faults
                else _worded(fault, settings)
            )
    found = (
        *(list_faults(raw), budget_faults(raw), weights_faults(raw)),
        *(contrast_faults(raw), log_faults(raw), task_faults(raw, TOP)),
    )
    for key, text in (pair for held in found for pair in held.items()):
        if faults.get(key, NO_KEY) == NO_KEY or text.startswith(HERE):
            faults[key] = text
    if spec is not None and not faults:
        faults = _conflicts(spec)
        faults |= {} if begun else unread_faults(spec)
    if faults:
        lines = [
            f"  {_cut(key) or 'file'}: {_cut(text)}{FROM_COMMAND * _is_given(key, given)}"
            for key, text in faults.items()
        ]
        count = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}"
        raise SpecError("\n".join([f"{source}: {count}", *lines]))
    assert spec is not None
    return spec


def _is_given(key: str, given: Collection[str]) -> bool:
    """Whether the command line sets a key, or a table above it."""
    return any(key == own or key.startswith(f"{own}.") for own in given)


def _cut(text: str) -> str:
    """A text without its middle where that is long: a message quotes what the file holds."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 150]} [...] {text[-150:]}"


def _names_code(raw: dict[str, Any]) -> bool:
    """Whether a study file names a task or network of the user's own, `module:ATTRIBUTE`."""
    tables = [raw.get(key) for key in ("cells", "fixed")]
    given = [table.get("network") for table in tables if isinstance(table, dict)]
    return ":" in str([raw.get("task"), *given])


def _is_branch(part: Any) -> bool:
    """Pydantic puts the tried type of a union into the key; it is none of the file's."""
    return part in ("bool", "int", "float", "str", "constrained-float") or "[" in str(part)


def _worded(fault: Any, settings: Mapping[str, Any]) -> str:
    """Pydantic's message, with the bad value; an unknown key gets its table, or the nearest."""
    if fault["type"] == "missing":
        return "must be given"
    if fault["type"] == "extra_forbidden":
        models: dict[str, type[BaseModel]] = {
            "budget": Budget,
            "confirm": Confirm,
            "log": Log,
            "resources": Resources,
            "space": Space,
        }
        *above, key = fault["loc"]
        home = elsewhere(str(key), settings if above else {})
        known = (models[above[0]] if above and above[0] in models else StudySpec).model_fields
        if above[:1] == ["log"] and len(above) > 1:
            return NO_TOKENS
        if above and key in TOP:
            return misplaced(str(key))
        if not above and key in settings:  # `task_faults` says where it belongs
            return NO_KEY
        return home or f"{NO_KEY}{did_you_mean(key, known)}"
    said = WORDS.get(fault["type"], fault["msg"]).format(**fault.get("ctx", {}))
    return f"{said}, not {fault['input']!r}"


def _conflicts(spec: StudySpec) -> dict[str, str]:
    """What is wrong with settings taken together, and with them and the rest of the file."""
    faults = find_conflicts(spec)
    if spec.protocol == "honest" and spec.config({}, {}).get("val_fraction") == 0:
        faults["fixed.val_fraction"] = "0 would select on test; only protocol = 'report' may"
    if spec.space and spec.seed in spec.confirm.seeds:
        faults["confirm.seeds"] = (
            f"{spec.seed} is the search's own seed, so it repeats nothing new"
        )
    if spec.protocol == "report" and spec.space:
        faults["space"] = (
            "protocol = 'report' judges by its own habits and cannot choose a config; list the "
            "values under [cells], or use protocol = 'honest'"
        )
    return faults
