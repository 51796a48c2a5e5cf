"""StudySpec and load_spec: a TOML study file to frozen models; the only place that validates.

Every fault of a file is reported at once, by key: those of form, which pydantic finds, and with
them those that need the task's settings, which are looked for in the raw file.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from search.spec.conflicts import find_conflicts
from search.spec.derived import list_faults, with_derived
from search.spec.faults import (
    budget_faults,
    contrast_faults,
    log_faults,
    misplaced,
    task_faults,
    weights_faults,
)
from search.spec.overrides import OverrideError, apply_overrides
from search.spec.plan import AUDIT, ETA, FULL
from search.spec.unread import unread_faults
from trainables import find_task
from trainables.errors import UserError
from trainables.own_code import import_from

Value = bool | int | float | str
Text = Annotated[str, Field(min_length=1)]
LONGEST = 1000  # characters told of one fault
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

    def at(self, values: Mapping[str, Any]) -> Range:
        """The range where cell and fixed parameters have these values.

        A condition inherits `log` and `integer` unless it has them.
        """
        for condition in self.when:
            if all(values.get(key) == value for key, value in condition.where().items()):
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
        audit_share: share of the trials ended at a rung that are trained to the end all the same,
            outside the selection, so that the report can say how often the rule was wrong.
    """

    trials_per_cell: int = Field(1, ge=1)
    max_epochs: int = Field(ge=1)
    grace_epochs: int = Field(1, ge=1)
    reduction_factor: float = Field(ETA, ge=1.1, le=1000)
    full_per_cell: int = Field(FULL, ge=1)
    audit_share: float = Field(AUDIT, ge=0, le=1)


class Confirm(_Model):
    """The winner of each cell is trained again, in full, once a seed.

    Attributes:
        seeds: of these trainings.
        paired: seeds pair cells: results are compared seed by seed. Only where a seed means the
            same thing in every cell, as a split or an order of images that is the same.
    """

    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(_tuple)] = ()
    paired: bool = False


class MLflowLog(_Model):
    """Where MLflow's runs go.

    Attributes:
        tracking_uri: of a server or database; else MLFLOW_TRACKING_URI, else the file mlflow.db of
            the run folder.
        experiment: its name; else the study's.
    """

    tracking_uri: Text | None = None
    experiment: Text | None = None


class WandbLog(_Model):
    """Where W&B's runs go.

    Attributes:
        project: its name; else WANDB_PROJECT, else the study's.
        entity: user or team; else the account's own.
        mode: online, offline (files in `wandb/` of the run folder, for `wandb sync`) or disabled;
            else WANDB_MODE.
    """

    project: Text | None = None
    entity: Text | None = None
    mode: Literal["online", "offline", "disabled"] | None = None


class Log(_Model):
    """Where a study is told of beside its record, while it runs.

    Attributes:
        to: "tensorboard": event files in `tensorboard/` of the run folder; "mlflow", "wandb": runs
            of these, by Ray's own callbacks.
        mlflow, wandb: see there.
    """

    to: Annotated[
        tuple[Literal["tensorboard", "mlflow", "wandb"], ...], BeforeValidator(_tuple)
    ] = ()
    mlflow: MLflowLog = MLflowLog()
    wandb: WandbLog = WandbLog()


class Contrast(_Model):
    """Each value of a cell parameter against one of them, among cells that are equal in all else.

    Attributes:
        key: of [cells].
        against: one of its values.
    """

    key: str
    against: Value


Share = Annotated[float, Field(ge=0)]


class Resources(_Model):
    """What one trial takes.

    Attributes:
        gpus_per_trial: a number, a table by depth, or "auto": where there are GPUs, the share that
            a few steps of each shape of trial are measured to need when the study begins, or is
            resumed on another kind of GPU. A share also caps the GPU memory of a trial; one that
            runs out of it is tried again alone.
        cpus_per_trial: also the number of CPU threads of a trial.
    """

    gpus_per_trial: Literal["auto"] | Share | dict[str, Share] = "auto"
    cpus_per_trial: float = Field(default=1.0, gt=0)


class StudySpec(_Model):
    """A declared comparison; see the study files in search/studies for examples."""

    name: str = Field(pattern=NAME)
    task: str
    description: str = ""
    seed: int = Field(0, ge=0)
    protocol: Literal["honest", "report"] = "honest"
    scheduler: Literal["cell-promote", "cell-stop", "ray-asha", "none"] = "cell-promote"
    sampler: Literal["quasi-random", "random", "tpe", "grid", "list"] = "quasi-random"
    points: Annotated[tuple[dict[str, Value], ...], BeforeValidator(_tuple)] = ()
    weights: str = Field("imagenet1k_v1", pattern=NAME)  # else a folder of the user's own
    cells: dict[str, Annotated[tuple[Value, ...], BeforeValidator(_tuple)]] = Field(min_length=1)
    space: dict[str, Annotated[Space, BeforeValidator(_choices)]] = {}
    fixed: dict[str, Value | Annotated[tuple[float, ...], BeforeValidator(_tuple)]] = {}
    budget: Budget
    confirm: Confirm = Confirm()
    contrast: Annotated[tuple[Contrast, ...], BeforeValidator(_tuple)] = ()
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
        raw = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SpecError(f"{path}: cannot be read as TOML: {error}") from error
    try:
        raw = apply_overrides(raw, overrides or [])
    except OverrideError as error:
        raise SpecError(f"{path}: {error}") from error
    return parse_spec(raw, str(path), path.parent), text


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
    raw: dict[str, Any], source: str, folder: Path | str | None = None, begun: bool = False
) -> StudySpec:
    """Check a study given as a dict.

    Args:
        raw: the study file, parsed.
        source: its name.
        folder: where a task of the user's own is imported from, beside what is installed.
        begun: it has been run, so that cells which differ in nothing that is read may go on.

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
        for fault in error.errors(include_url=False):
            key = ".".join(str(part) for part in fault["loc"] if not _is_branch(part))
            # a key that may be of several types is told what each of them asks for
            faults[key] = (
                f"{faults[key]}; or: {_worded(fault)}" if key in faults else _worded(fault)
            )
    found = (
        *(list_faults(raw), budget_faults(raw), weights_faults(raw)),
        *(contrast_faults(raw), log_faults(raw), task_faults(raw, TOP)),
    )
    for key, text in (pair for held in found for pair in held.items()):
        faults.setdefault(key, text)
    if spec is not None and not faults:
        faults = _conflicts(spec)
        faults |= {} if begun else unread_faults(spec)
    if faults:
        lines = [f"  {_cut(key) or 'file'}: {_cut(text)}" for key, text in faults.items()]
        count = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}"
        raise SpecError("\n".join([f"{source}: {count}", *lines]))
    assert spec is not None
    return spec


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


def _worded(fault: Any) -> str:
    """Pydantic's message, with the bad value; an unknown key gets the nearest known one."""
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
        known = (models[above[0]] if above and above[0] in models else StudySpec).model_fields
        if above[:1] == ["log"] and len(above) > 1:
            return NO_TOKENS
        near = difflib.get_close_matches(str(key), known, 1)
        if above and key in TOP:
            return misplaced(str(key))
        return f"no such key{f'; did you mean {near[0]}?' if near else ''}"
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
