"""How many configs and seeds each cell was to have, has and lacks: counted here, told everywhere.

`resnet-search status`, tables, captions and the page read these counts; none counts for itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from search.record.columns import trial_column
from search.record.once import once
from search.spec.derived import implied_trials, with_derived

if TYPE_CHECKING:
    from search.record.read import Record

STATES = ("completed", "stopped", "paused", "running", "diverged", "failed")


@dataclass(frozen=True)
class Configs:
    """The search of a cell.

    An audited trial counts as the rule left it, stopped at its rung, and once more in `audits` by
    what became of it outside of the selection.

    Attributes:
        planned: configs that the study asks for; 0 where nothing is searched.
        states: of STATES, how many trials are so.
        audits: the same of trials trained on after the rule had ended them, by how they stand.
        collapsed: how many of all of them have; None where the task does not say.
    """

    planned: int
    states: Mapping[str, int] = field(default_factory=dict)
    audits: Mapping[str, int] = field(default_factory=dict)
    collapsed: int | None = None

    @property
    def run(self) -> int:
        """Configs that were begun."""
        return sum(self.states.values())

    @property
    def audited(self) -> int:
        """Trials that are, or were, trained on outside of the selection."""
        return sum(self.audits.values())

    @property
    def audits_ended(self) -> int:
        """Those of them that came to an end of their own, in full or diverged."""
        return self.audits.get("completed", 0) + self.audits.get("diverged", 0)


@dataclass(frozen=True)
class Seeds:
    """The full trainings that a cell's result is made of.

    Attributes:
        planned: seeds that the study asks for; 1, the winner itself, where it names none.
        complete: trained in full, with a finite test score of the study's metric.
        unscored: trained in full without one.
        diverged: became not finite on the way.
        failed: ended by an error, or lost, for good.
        open: running or waiting.
        collapsed: of the complete and the unscored, those whose predictions hardly differ.
    """

    planned: int
    complete: int = 0
    unscored: int = 0
    diverged: int = 0
    failed: int = 0
    open: int = 0
    collapsed: int = 0

    @property
    def begun(self) -> int:
        """Seeds that have a trial."""
        return self.complete + self.unscored + self.diverged + self.failed + self.open

    @property
    def to_come(self) -> int:
        """Seeds that may still come to a value: open, or not begun."""
        return self.open + max(self.planned - self.begun, 0)

    @property
    def lost(self) -> int:
        """Seeds that came to no value, and will not without being asked for again."""
        return self.unscored + self.diverged + self.failed

    @property
    def words(self) -> str:
        """What is not complete, e.g. "1 of 3 seeds diverged, 1 not begun"; "" where none lacks."""
        counts = (
            (self.diverged, "diverged"),
            (self.failed, "failed"),
            (self.unscored, "has no finite test score" if self.unscored == 1 else
             "have no finite test score"),
            (self.open, "on the way"),
            (max(self.planned - self.begun, 0), "not begun"),
        )  # fmt: skip
        said = [f"{n} {what}" for n, what in counts if n]
        if not said:
            return ""
        noun = "seed" if self.planned == 1 else "seeds"
        first, _, rest = said[0].partition(" ")
        return ", ".join([f"{first} of {self.planned} {noun} {rest}", *said[1:]])


@dataclass(frozen=True)
class Counts:
    """What a cell was asked for and has."""

    configs: Configs
    seeds: Seeds


@once
def searched(held: Record) -> pd.DataFrame:
    """The trials of the search as the rule left them; rows and columns as in the record.

    An audited trial stands as it was ended: stopped, at its rung, with its value there; of one
    that has not begun to be trained on the reason says so, which the frame on record leaves open.
    """
    rows = held.trials[held.trials["stage"].isin(["search", "audit"])].copy()
    if "imported" in held.study and held.study["space_keys"]:
        return _imported_configs(held)
    waits = (rows["status"] == "paused") & rows["reason"].str.startswith("audit: ")
    rows.loc[waits.fillna(False), "reason"] = rows["reason"].str.replace(
        ", trained on to", ", to be trained on to", regex=False
    )
    ended = held.decisions[held.decisions["verdict"] == "audit"].drop_duplicates("trial")
    ended = ended.set_index("trial")
    audited = rows["stage"] == "audit"
    names = rows.loc[audited, "trial"]
    rows.loc[audited, "status"] = "stopped"
    rows.loc[audited, "epochs"] = names.map(ended["epoch"]).astype("Int64")
    rows.loc[audited, "value"] = names.map(ended["value"]).astype("Float64")
    # what came of it since, e.g. that its job failed, is of the audit
    since = audited & ~rows["reason"].str.startswith("audit").fillna(False)
    rows.loc[since, "reason"] = "audit: ended at epoch " + rows.loc[since, "epochs"].astype(str)
    rows.loc[audited, "collapsed"] = _collapsed_at(held, names.map(ended["epoch"]))
    return rows


def _imported_configs(held: Record) -> pd.DataFrame:
    """A row a config of an imported record: its runs are of one stage or another, never of both.

    Of several seeds the first that was trained in full stands for the config.
    """
    keys = ["cell", *(trial_column(held.study, key) for key in held.study["space_keys"])]
    order = held.trials["status"].map({"completed": 0, "stopped": 1}).fillna(2)
    rows = held.trials.loc[order.sort_values(kind="stable").index]
    return rows.drop_duplicates(keys).sort_index()


def _collapsed_at(held: Record, epochs: pd.Series) -> pd.Series:
    """Whether trials had collapsed, by the rows of these epochs of theirs; NA where untold."""
    rows = held.curves[held.curves["name"] == f"{held.study['watched']}_collapsed"]
    told = rows.set_index(["trial", "epoch"])["value"]
    names = held.trials.loc[epochs.index, "trial"]
    at = pd.MultiIndex.from_arrays([names, epochs])
    return pd.Series(told.reindex(at).to_numpy(), epochs.index).astype("Float64").astype("boolean")


def configs_planned(study: Mapping[str, Any]) -> int:
    """Configs that each cell was to choose among; 0 where nothing is searched."""
    if not study["space_keys"]:
        return 0
    spec = with_derived(dict(study["spec"]))
    given = spec.get("budget", {}).get("trials_per_cell")
    return int(given or implied_trials(spec) or 1)


@once
def counts(held: Record) -> Mapping[int, Counts]:
    """Counts of every cell, by its number."""
    study, rows = held.study, held.trials[["stage", "cell", "status"]]
    rows = rows[rows["stage"] != "confirm"]
    if "imported" in study and study["space_keys"]:
        rows = searched(held)[["stage", "cell", "status"]]
    audits = rows["stage"] == "audit"
    states = _by_state(rows.assign(status=rows["status"].mask(audits, "stopped")))
    ended = _by_state(rows[audits])
    seeds, collapsed = _seeds(held), _collapsed(held)
    planned = dict.fromkeys(range(len(study["cells"])), configs_planned(study))
    if (
        "imported" in study and study["space_keys"]
    ):  # how many were planned is not known: those that there are
        planned = {number: sum(states.get(number, {}).values()) for number in planned}
    none = Seeds(len(study["confirm_seeds"]) or 1)
    return {
        number: Counts(
            Configs(
                planned[number],
                states.get(number, {}),
                ended.get(number, {}),
                collapsed.get(number),
            ),
            seeds.get(number, none),
        )
        for number in range(len(study["cells"]))
    }


def _collapsed(held: Record) -> dict[int, int]:
    """Cell -> trials of its search that have collapsed; without cells whose task does not say."""
    rows = held.trials[["cell", "stage", "collapsed"]].dropna()
    sums = rows[rows["stage"] != "confirm"].groupby("cell")["collapsed"].sum()
    return {int(str(cell)): int(n) for cell, n in sums.items()}


def _by_state(rows: pd.DataFrame) -> dict[int, dict[str, int]]:
    """Cell -> status -> trials."""
    found: dict[int, dict[str, int]] = {}
    sizes = Counter(zip(rows["cell"].tolist(), rows["status"].tolist(), strict=True))
    for (cell, status), count in sorted(sizes.items()):
        found.setdefault(int(cell), {})[str(status)] = count
    return found


def result_stage(study: Mapping[str, Any], trials: pd.DataFrame) -> str:
    """The stage whose trials are the result of a cell: confirm where seeds are asked for."""
    confirms = bool(study.get("confirm_seeds")) or bool((trials["stage"] == "confirm").any())
    return "confirm" if confirms else "search"


def _seeds(held: Record) -> dict[int, Seeds]:
    study, trials = held.study, held.trials
    stage, score = result_stage(study, trials), f"test_{study['metric']}"
    if "imported" in study and stage == "confirm" and study["shown_split"] == "val":  # no test
        score = f"value_{study['shown_split']}_{study['metric']}"
    rows = trials[["stage", "cell", "status", "epochs", "budget", "collapsed", score]]
    rows = rows[rows["stage"] == stage]
    tested = rows[score]
    scored = pd.Series(np.isfinite(tested.astype("float64").to_numpy()), index=rows.index)
    if stage == "search":  # of its trials the winner alone is to be scored
        rows, scored = rows[scored], scored[scored]
    full = (rows["status"] == "completed") & (rows["epochs"] >= rows["budget"])
    full = full.fillna(False).astype(bool)
    kinds = {
        "complete": full & scored,
        "unscored": full & ~scored,
        **{kind: rows["status"] == kind for kind in ("diverged", "failed")},
        "collapsed": full & rows["collapsed"].fillna(False).astype(bool),
        "open": rows["status"].isin(["running", "paused", "stopped"]),
    }
    table = pd.DataFrame({name: mask.astype(int) for name, mask in kinds.items()})
    sums = table.groupby(rows["cell"].astype(int)).sum()
    planned = len(study["confirm_seeds"]) or 1
    return {
        int(str(cell)): Seeds(planned, **{str(name): int(n) for name, n in row.items()})
        for cell, row in sums.to_dict("index").items()
    }
