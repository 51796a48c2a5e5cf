"""Which searched settings decided how good a config was, as far as the configs can say.

Within a cell configs are ranked at one rung; over a study by their ranks within cells, so that
what the cells differ in is no setting's merit. PED-ANOVA (search.record.ped_anova) says how far
the better half was spread otherwise than all, by setting; whether that is more than chance would
give is told by shuffling the ranks within cells (Fisher's permutation test), and over the settings
together (Holm).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.findings.stats import LEVEL, told_apart
from analysis.findings.tried import is_log, settings_of_search, tried
from search.record import Record, searched
from search.record.once import once
from search.record.ped_anova import evaluator_name, ped_anova

# of 200 simulated searches in which one of two settings decides, that one came first in 83 % with
# 10 configs, 94 % with 12, 96 % with 16
LEAST = 16
FEWEST = 5  # of the better ones, as Optuna asks for
SHUFFLES = 199  # of the ranks, at least; the smallest share that they can say is 1 in 200
A_SETTING = 40  # of them for each setting, so that Holm's first level can be reached
COLUMNS = [
    *("scope", "cell", "epoch", "setting", "importance", "p", "decided", "n", "ignored"),
    *("evaluator", "why"),
]


@once
def importance(record: Record) -> pd.DataFrame:
    """Importance of each searched setting, over the study and in each cell.

    At the first rung, which all configs come to, and in full, where those are left that the rungs
    kept, so that less is said of what ended the others.

    Returns:
        scope (study or cell); cell (NA of the study); epoch; setting; importance (its share of
        the divergences of all settings; NaN where it cannot be told); p (share of shufflings of
        the ranks, itself included, in which the setting's own divergence is as large); decided
        (whether that is beyond chance at 5 %, Holm over the settings of the scope); n (configs,
        those that diverged included, last); ignored (begun, and without a value there); evaluator;
        why (it cannot be told; "" where it can).
    """
    keys = settings_of_search(record)
    rungs = record.study["rungs"]
    rows: list[dict[str, Any]] = []
    for epoch in dict.fromkeys((rungs[0], rungs[-1])):
        for at, held, begun in _scopes(record, int(epoch)):
            found = {**at, "epoch": int(epoch), "n": len(held), "ignored": begun - len(held)}
            rows += [found | row for row in _of(record, held, keys)]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    return frame.astype({"cell": "Int64", "importance": float, "p": float})


def _scopes(record: Record, epoch: int) -> Iterator[tuple[dict[str, Any], pd.DataFrame, int]]:
    """The study and each cell: the configs with a rank at the epoch, and how many were begun."""
    held, begun = tried(record), searched(record)["cell"].astype(int)
    held = held[held["epoch"] == epoch].copy()
    held = held[held["value"].notna() | (held["status"] == "diverged")]
    sign = -1 if record.study["mode"] == "max" else 1
    losses = (sign * held["value"]).fillna(np.inf)
    held["order"] = losses.groupby(held["cell"]).rank(pct=True)
    yield {"scope": "study", "cell": None}, held, len(begun)
    for cell in range(len(record.study["cells"])) if len(record.study["cells"]) > 1 else ():
        own = held[held["cell"] == cell]
        yield {"scope": "cell", "cell": cell}, own, int((begun == cell).sum())


def _of(record: Record, held: pd.DataFrame, keys: dict[str, str]) -> list[dict[str, Any]]:
    """A row a setting, of one scope."""
    whole = held.dropna(subset=list(keys.values()))
    several = {key: column for key, column in keys.items() if len(set(whole[column])) > 1}
    why = ""
    if len(keys) < 2:
        why = "one setting is searched, so there is none to weigh it against"
    elif drawn := _not_by_itself(record):
        why = drawn
    elif len(held) < LEAST:
        why = f"not enough data: {len(held)} configs, {LEAST} are asked for"
    elif len(whole) < len(held):
        why = "not every config has every setting"
    elif len(several) < 2:
        why = "fewer than two settings were tried at several values"
    elif not (best := _best(whole["order"].to_numpy(float))):
        why = f"fewer than {FEWEST} configs are better than the others, which are all alike"
    if why:
        return [_row(key, why=why) for key in keys]
    log = [key for key in several if is_log(record.study, key)]
    columns = {key: whole[column].tolist() for key, column in several.items()}
    shuffles = max(SHUFFLES, A_SETTING * len(several) - 1)
    found = ped_anova(columns, log, _orders(whole, shuffles), best)
    shares = found[0] / found[0].sum() if found[0].sum() > 0 else np.zeros(len(several))
    chance = (found >= found[0] - 1e-12).mean(axis=0)
    tests = [lambda level, p=p: p <= 1 - level for p in chance]
    decided = [apart for apart, _ in told_apart(tests, LEVEL)]
    by = evaluator_name(best, len(whole))
    told = {
        key: _row(key, float(share), float(p), bool(apart), by)
        for key, share, p, apart in zip(several, shares, chance, decided, strict=True)
    }
    return [told.get(key, _row(key, why="one value was tried")) for key in keys]


def _not_by_itself(record: Record) -> str:
    """Why settings were not drawn independently, so that one may speak for another; "" if so."""
    spec = record.study.get("spec") or {}
    if spec.get("points"):
        return "the configs are [[points]]: settings that go together cannot be told apart"
    if spec.get("sampler") == "tpe":
        return "sampler = 'tpe' draws all settings by earlier results: one may speak for another"
    return ""


def _row(
    key: str,
    share: float = np.nan,
    p: float = np.nan,
    decided: bool = False,
    evaluator: str = "",
    why: str = "",
) -> dict[str, Any]:
    told = {"importance": share, "p": p, "decided": decided, "evaluator": evaluator, "why": why}
    return {"setting": key, **told}


def _best(order: NDArray[np.float64]) -> int:
    """How many are the better half; where its last ones tie with others, those before them.

    0 where these are fewer than FEWEST, or none is worse.
    """
    half = np.sort(order)[(len(order) + 1) // 2 - 1]
    upto, before = int((order <= half).sum()), int((order < half).sum())
    best = upto if upto <= (len(order) + 1) // 2 else before
    return best if best >= FEWEST else 0


def _orders(held: pd.DataFrame, shuffles: int) -> Sequence[NDArray[np.float64]]:
    """The ranks as they are, then shuffled within cells."""
    rng, order = np.random.default_rng(0), held["order"].to_numpy(float)
    groups = [np.flatnonzero(held["cell"] == cell) for cell in held["cell"].unique()]
    found = [order]
    for _ in range(shuffles):
        mixed = order.copy()
        for places in groups:
            mixed[places] = rng.permutation(order[places])
        found.append(mixed)
    return found
