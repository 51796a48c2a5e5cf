"""Published cells: the numbers of somebody's tables, each with what it is said to be of."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from analysis.findings.curve_csv import MODES, Curve
from search.record.csv_rows import read_csv_rows, real_number, refuse, whole_number
from search.record.imported import tasks

COLUMNS = ("table", "task", "part", "mode", "depth", "lr", "epochs", "metric", "value")
SPLITS = ("test", "val")  # what the column `split`, where there is one, says a value is of
ROUNDING = 0.5001  # of the last digit that is published


@dataclass(frozen=True)
class Cell:
    """One published number; `digits` behind its point, `split` that its table says it is of."""

    table: str
    task: str
    part: str
    mode: str
    depth: int
    lr: float
    epochs: int
    metric: str
    value: float
    digits: int
    split: str = "test"

    @property
    def label(self) -> str:
        """E.g. "T3 B, depth 18, lr 0.01"."""
        return f"{self.table}{f' {self.part}' * bool(self.part)}, {self.mode}, {self.at}"

    @property
    def at(self) -> str:
        """E.g. "depth 18, lr 0.01"."""
        return f"depth {self.depth}, lr {self.lr:g}"

    def is_end_of(self, curve: Curve) -> bool:
        """Whether a curve ends at the number."""
        return abs(curve.end(self.metric) - self.value) <= ROUNDING * 0.1**self.digits

    def may_be(self, curve: Curve, *, lr: bool = True) -> bool:
        """Whether a curve is of its data, mode and depth, and of its lr where that is asked."""
        mine = (self.task, self.part, self.mode, self.depth)
        same = mine == (curve.task, curve.part, curve.mode, curve.depth)
        return same and (curve.lr == self.lr or not lr)


def own_file(name: str) -> Path:
    """A file that comes with this package."""
    return Path(str(files("analysis.findings").joinpath(name)))


def read_cells(path: Path | None = None) -> list[Cell]:
    """Published cells: of a csv with the columns COLUMNS, or those of the course report.

    A column `split` may say of which split a table says that its values are, one of SPLITS; they
    are of the first without it, as results are.

    Raises:
        UserError: with file, row, column and what to do.
    """
    source = own_file("published.csv") if path is None else path
    found = []
    for number, row in read_csv_rows(source, COLUMNS):
        if row["task"] not in tasks():
            refuse(source, number, "task", row["task"], f"must be one of {', '.join(tasks())}")
        if row["mode"] not in MODES:
            refuse(source, number, "mode", row["mode"], f"must be one of {', '.join(MODES)}")
        if row["metric"] not in (known := tasks()[row["task"]]["metrics"]):
            refuse(source, number, "metric", row["metric"], f"must be one of {', '.join(known)}")
        split = row.get("split", SPLITS[0])
        if split not in SPLITS:
            refuse(source, number, "split", split, f"must be one of {', '.join(SPLITS)}")
        found.append(
            Cell(
                table=row["table"],
                task=row["task"],
                part=row["part"],
                mode=row["mode"],
                depth=whole_number(source, number, "depth", row["depth"], 1),
                lr=real_number(source, number, "lr", row["lr"]),
                epochs=whole_number(source, number, "epochs", row["epochs"], 1),
                metric=row["metric"],
                value=real_number(source, number, "value", row["value"]),
                digits=len(row["value"].partition(".")[2]),
                split=split,
            )
        )
    return found
