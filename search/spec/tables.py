"""The tables of a study file, as frozen models: what each key may be, and what it means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from search.spec.plan import AUDIT, ETA, FULL

Value = bool | int | float | str
Text = Annotated[str, Field(min_length=1)]


def as_tuple(value: Any) -> Any:
    """A list of TOML as what a frozen model holds."""
    return tuple(value) if isinstance(value, list) else value


def as_choices(value: Any) -> Any:
    """`lr = [0.1, 0.01]` is short for `lr = {values = [0.1, 0.01]}`."""
    return {"values": tuple(value)} if isinstance(value, list) else value


class Table(BaseModel):
    """A table of a study file: no key but its own, and each of its own kind."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Range(Table):
    """Values that a searched parameter may take: a range, or a list of choices."""

    low: float | None = None
    high: float | None = None
    log: bool = False
    integer: bool = False
    values: Annotated[tuple[Value, ...], BeforeValidator(as_tuple)] = ()


class Condition(Range):
    """A range that holds where cell parameters have these values, instead of the general one."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    def where(self) -> dict[str, Value]:
        """The cell values asked for."""
        return dict(self.model_extra or {})


class Space(Range):
    """A searched parameter: its range, and other ranges under conditions (the first that fits)."""

    when: Annotated[tuple[Condition, ...], BeforeValidator(as_tuple)] = ()

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


class Budget(Table):
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


class Confirm(Table):
    """The winner of each cell is trained again, in full, once a seed.

    Attributes:
        seeds: of these trainings.
        paired: seeds pair cells: results are compared seed by seed. Only where a seed means the
            same thing in every cell, as a split or an order of images that is the same.
    """

    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(as_tuple)] = ()
    paired: bool = False


class MLflowLog(Table):
    """Where MLflow's runs go.

    Attributes:
        tracking_uri: of a server or database; else MLFLOW_TRACKING_URI, else the file mlflow.db of
            the run folder.
        experiment: its name; else the study's.
    """

    tracking_uri: Text | None = None
    experiment: Text | None = None


class WandbLog(Table):
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


class Log(Table):
    """Where a study is told of beside its record, while it runs.

    Attributes:
        to: "tensorboard": event files in `tensorboard/` of the run folder; "mlflow", "wandb": runs
            of these, by Ray's own callbacks.
        mlflow, wandb: see there.
    """

    to: Annotated[
        tuple[Literal["tensorboard", "mlflow", "wandb"], ...], BeforeValidator(as_tuple)
    ] = ()
    mlflow: MLflowLog = MLflowLog()
    wandb: WandbLog = WandbLog()


class Contrast(Table):
    """Each value of a cell parameter against one of them, among cells that are equal in all else.

    Attributes:
        key: of [cells].
        against: one of its values.
    """

    key: str
    against: Value


Share = Annotated[float, Field(ge=0)]


class Resources(Table):
    """What one trial takes.

    Attributes:
        gpus_per_trial: a number, a table by depth, or "auto": where there are GPUs, the share that
            a few steps of each shape of trial are measured to need when the study begins, or is
            resumed on another kind of GPU. A share also caps the GPU memory of a trial; one that
            runs out of it is tried again alone.
        cpus_per_trial: also the number of CPU threads of a trial.
        array: trials of a cell that are trained together as one program, at most; together they
            take the GPU shares of as many trials, up to a GPU, and the CPUs of one. "auto": what a
            few steps on this kind of GPU are measured to do fastest; one on a CPU.
    """

    gpus_per_trial: Literal["auto"] | Share | dict[str, Share] = "auto"
    cpus_per_trial: float = Field(default=1.0, gt=0)
    array: Literal["auto"] | Annotated[int, Field(ge=1, le=64)] = 1
