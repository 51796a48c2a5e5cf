"""Importance of settings, and marginal means of grids, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.display import words
from analysis.display.frames import ends, stamps
from analysis.display.origins import origin
from analysis.display.render import Table
from analysis.findings.facts import DASH, digits, fixed_point, metric_name
from analysis.findings.importance import LEAST, SHUFFLES, importance
from analysis.findings.marginals import marginals
from analysis.findings.stats import Interval
from search.record import Record
from search.record.naming import cell_label, named, setting


def importance_table(record: Record) -> Table:
    """A row a scope, epoch and setting."""
    study, data = record.study, importance(record)
    rows = [
        {
            "of": scope_name(study, row),
            "at epoch": str(row["epoch"]),
            "setting": named(row["setting"]),
            "importance": _share(row),
            "by chance": DASH if row["why"] else f"p = {row['p']:.3f}",
            "verdict": _verdict(row),
            "configs": str(row["n"]),
            "ignored": str(row["ignored"]),
        }
        for row in data.to_dict("records")
    ]
    display = pd.DataFrame(rows)
    bold = pd.DataFrame(False, index=display.index, columns=display.columns)
    bold["verdict"] = data["decided"].astype(bool).to_numpy()
    caption = " ".join([*words.banners(record), about_importance(data), origin(record)])
    title = "Which settings decided how good a config was"
    data = data.assign(**stamps(record))
    return Table(study["name"], "importance", title, caption, display, bold, data, short=_by(data))


def about_importance(data: pd.DataFrame) -> str:
    """How importance came about and what it is not, as table and figure say it.

    Args:
        data: rows of analysis.findings.importance.importance.
    """
    return f"{_by(data)} {_IMPORTANCE}"


def _by(data: pd.DataFrame) -> str:
    names = [*dict.fromkeys(name.rpartition(", ")[0] for name in data["evaluator"] if name)]
    return f"By {', '.join(names)}." if names else f"Nothing is told below {LEAST} configs."


def scope_name(study: Mapping[str, Any], row: Mapping[Any, Any]) -> str:
    """What a row of importance or of marginal means is of, in words."""
    if row["scope"] == "study":
        return "the study, ranks within cells" if len(study["cells"]) > 1 else "the study"
    return cell_label(study["cells"][row["cell"]])


def _share(row: Mapping[Any, Any]) -> str:
    return DASH if row["why"] else f"{row['importance']:.0%}"


def _verdict(row: Mapping[Any, Any]) -> str:
    if row["why"]:
        return f"cannot tell: {row['why']}"
    return "beyond chance" if row["decided"] else "not told from chance"


_IMPORTANCE = (
    "Importance: a setting's share of how far the better half of the configs is spread otherwise "
    "than all that were tried; that is no share of what a setting changes the metric by. By "
    f"chance: how often shufflings of the ranks, {SHUFFLES} or more, and the ranks themselves "
    "give a setting as much; beyond chance at 5 %, Holm over the settings of a scope. A config "
    "that diverged ranks last; in full only those are left that the rungs kept."
)


def marginals_table(record: Record) -> Table:
    """A row a scope, setting and level."""
    study, data = record.study, marginals(record)
    places, name = digits(study, study["metric"]), metric_name(study, study["metric"])
    rows = [
        {
            "of": "the study" if row["scope"] == "study" else scope_name(study, row),
            "setting": named(row["setting"]),
            "level": DASH if row["why"] else setting(row["setting"], row["level"]),
            f"mean {study['watched']} {name}": f"cannot tell: {row['why']}"
            if row["why"]
            else fixed_point(row["mean"], places),
            "95 %": ends(Interval(row["lo"], row["hi"], "t"), places),
            "interval by": row["interval"] if row["interval"] in BY else DASH,
            "values": DASH if row["why"] else str(row["n"]),
            "at epoch": DASH if row["why"] else str(row["epoch"]),
        }
        for row in data.to_dict("records")
    ]
    display = pd.DataFrame(rows)
    bold = pd.DataFrame(False, index=display.index, columns=display.columns)
    caption = " ".join([*words.banners(record), _MARGINALS, origin(record)])
    title = "What each value of a setting gave, whatever the others were"
    data = data.assign(**stamps(record))
    return Table(study["name"], "marginals", title, caption, display, bold, data)


BY = ("residual", "seeds")  # what an interval may be by
_MARGINALS = (
    "Marginal means of a full grid: exact means over all combinations of the other settings, at "
    "the last rung that the whole grid came to. Interval: Student's, by the residual of the sum "
    "of main effects (wider where settings interact; one spread for all levels), or, of a grid of "
    "one setting in full, by the pooled spread over the study's seeds. Values are of one run "
    "each, so what the best level shows is no result of it."
)
