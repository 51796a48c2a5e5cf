"""The map: a small TOML file that says what the columns of a source are."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from search.spec.toml_text import parsed_toml
from trainables.errors import UserError, did_you_mean, reason


class Map(BaseModel):
    """The keys of a map file; all may be left out.

    Attributes:
        task: what was trained on; one that ships brings its constants and tables.
        trial: column that tells runs apart.
        epoch: column that counts epochs; "" where each run is to stand as one.
        metric: column of the metric that ranks runs.
        mode: max or min.
        split: val or test: the images that the metric is of.
        test: column of the same metric on the test images.
        cells: columns whose values make the cells of the table.
        space: columns of searched settings: configs inside a cell.
        seed: column of seeds.
        stage: column of search and confirm, as this record has them.
        state: column that says how a run ended.
        seconds: column of the seconds that a run took.
        rule: the epoch whose value counts: the last, or the best.
        epochs: of a full training; else those of the longest run.
        first_epoch: number that the source gives the first epoch; else guessed, 0 or 1.
        steps_per_epoch: where `epoch` counts steps.
        repeats_are_seeds: runs alike in every setting are seeds of one config, though no column
            says which.
        seeds: how many each cell was to have; else those of the cell with most.
        paired: a seed means the same in every cell.
        leave_out: columns that are nothing of these.
        also: column of another metric -> its name here, e.g. val_loss.
        modes: name of another metric -> max or min.
        units: column -> percent or fraction.
        fixed: settings that hold in every run, for what no column says.
    """

    model_config = ConfigDict(strict=True, extra="forbid")

    task: str | None = Field(default=None, min_length=1)
    trial: str | None = None
    epoch: str | None = None
    metric: str | None = None
    mode: Literal["max", "min"] | None = None
    split: Literal["val", "test"] | None = None
    test: str | None = None
    cells: list[str] | None = None
    space: list[str] | None = None
    seed: str | None = None
    stage: str | None = None
    state: str | None = None
    seconds: str | None = None
    rule: Literal["last", "best"] = "last"
    epochs: int | None = Field(default=None, ge=1)
    first_epoch: int | None = Field(default=None, ge=0)
    steps_per_epoch: int | None = Field(default=None, ge=1)
    repeats_are_seeds: bool = False
    seeds: int | None = Field(default=None, ge=1)
    paired: bool = False
    leave_out: list[str] = Field(default_factory=list)
    also: dict[str, str] = Field(default_factory=dict)
    modes: dict[str, Literal["max", "min"]] = Field(default_factory=dict)
    units: dict[str, Literal["percent", "fraction"]] = Field(default_factory=dict)
    fixed: dict[str, bool | int | float | str] = Field(default_factory=dict)


def read_map(path: Path | None) -> Map:
    """A map file; without one, an empty map.

    Raises:
        UserError: with every fault of it by key.
    """
    if path is None:
        return Map()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as TOML: {reason(error)}") from error
    try:
        held = parsed_toml(text)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    try:
        return Map.model_validate(held)
    except ValidationError as error:
        said = []
        for fault in error.errors(include_url=False):
            key = ".".join(str(part) for part in fault["loc"])
            if fault["type"] == "extra_forbidden":
                known = ", ".join(Map.model_fields)
                near = did_you_mean(key, Map.model_fields)
                said.append(f"{key} is no key of a map{near or f'; those are {known}'}")
            else:
                said.append(
                    f"{key} is {fault['input']!r}: {fault['msg'][:1].lower()}{fault['msg'][1:]}"
                )
        raise UserError(f"{path}: {'; '.join(said)}") from error
