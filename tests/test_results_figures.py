"""Every figure of ours in docs/results.md is computed again here from the records in results/."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scipy import stats

from analysis.findings.published import published_frame
from analysis.findings.several import diff
from search import record

ROOT = Path(__file__).parents[1]
PLAIN, LONG, SOURCE, CROWD, CONV, CONV_A, HUBER, STRIDE, REPORT_B, LONG_A = (
    *("cifar10-plain", "cifar10-scratch-30", "cifar10-source", "crowd-a-64px", "crowd-b-conv"),
    *("crowd-a-conv", "crowd-a-huber", "crowd-b-stride8", "report-crowd-lr-b", "crowd-a-long"),
)


@cache
def load(name: str) -> record.Record:
    return record.load(ROOT / "results" / name)


def section(name: str) -> str:
    """What the document says of a record, in one line."""
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    found = [part for part in text.split("\n## ") if f"`results/{name}`" in part.split("\n")[0]]
    assert len(found) == 1
    return " ".join(found[0].split())


def seeds(name: str, cell: int) -> pd.DataFrame:
    """The confirmed, finished trials of a cell, by seed."""
    rows = load(name).trials.query("stage == 'confirm' and status == 'completed'")
    return rows[rows["cell"] == cell].sort_values("seed")


def winner(name: str, cell: int) -> pd.Series[Any]:
    picks = load(name).decisions.query("verdict == 'select'").set_index("cell")["trial"]
    return load(name).trials.set_index("trial").loc[picks[cell]]


def interval(values: pd.Series[float]) -> tuple[float, float]:
    """95 % t interval of a mean."""
    low, high = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
    return float(low), float(high)


def spread(values: pd.Series[float], digits: int) -> str:
    return f"{values.mean():.{digits}f} ± {values.std(ddof=1):.{digits}f}"


def curve(name: str, trial: str, what: str) -> pd.Series[float]:
    """By epoch."""
    rows = load(name).curves.query("trial == @trial and name == @what")
    return rows.set_index("epoch")["value"]


def first_rung(name: str, cell: int) -> pd.DataFrame:
    """Configs of a cell by rate: lr, value at the first rung, and its rank there from 1."""
    held = load(name)
    rung, metric = held.study["rungs"][0], f"val_{held.study['metric']}"
    rows = held.trials.query("stage != 'confirm' and cell == @cell").sort_values("lr")
    values = [curve(name, trial, metric)[rung] for trial in rows["trial"]]
    found = pd.DataFrame({"trial": list(rows["trial"]), "lr": list(rows["lr"]), "value": values})
    return found.assign(rank=found["value"].rank(ascending=held.study["mode"] == "min"))


def epochs_of(name: str) -> int:
    return len(load(name).curves[["trial", "epoch"]].drop_duplicates())


def seconds_of_driver(name: str) -> float:
    """From the first line of the journal to the last."""
    lines = (ROOT / "results" / name / record.JOURNAL).read_text().splitlines()
    first, last = (pd.Timestamp(json.loads(line)["time"]) for line in (lines[0], lines[-1]))
    return float((last - first).total_seconds())


def setup(name: str) -> list[str]:
    """What every section says of its run."""
    study = load(name).study
    commit = (study["git"] or {})["commit"][:7]
    return [
        f"Run on {study['sessions'][0]['started'][:10]} on",
        f"torch {study['versions']['torch'].rpartition('.')[0]},",
        f"commit {commit}",
        f"{len(load(name).trials)} trials, {epochs_of(name)} epochs",
    ]


def long_figures() -> list[str]:
    """Of cifar10-scratch-30."""
    held, found = load(LONG), setup(LONG)
    budget, space = held.study["spec"]["budget"], held.study["spec"]["space"]["lr"]
    assert budget["trials_per_cell"] == 9
    assert held.trials.query("stage == 'audit'")["status"].eq("paused").sum() == 3
    assert [3 - len(seeds(LONG, cell)) for cell in range(5)] == [0, 1, 1, 1, 3]
    kept = held.study["data"][0]["train_images"] - 5000
    worse = seeds(LONG, 3).iloc[-1]
    swings = curve(LONG, str(worse["trial"]), "val_loss")[-7:]
    found += [
        f"a test loss of {worse['test_loss']:.2f}, worse than guessing ({math.log(10):.2f}), "
        f"beside an accuracy of {worse['test_accuracy']:.2f}",
        f"swings between {swings.min():.1f} and {swings.max():.1f} over the last epochs",
        f"epochs of {kept:,} images in {seconds_of_driver(LONG):.0f} seconds",
        "a seed each of depth 34, 50 and 101, all seeds of depth 152, three audits",
        "promotion ASHA with rungs at {}, {}, {} and {} epochs".format(*held.study["rungs"]),
        f"log-uniform from {space['low']} to {space['high']}, ",
    ]
    for cell, depth in enumerate((18, 34, 50, 101, 152)):
        tests, pick = seeds(LONG, cell)["test_accuracy"].astype(float), winner(LONG, cell)
        shown, count = ", ".join(f"{v:.4f}" for v in tests) or "not yet", len(tests)
        if count == 3:
            ends = "{:.3f} to {:.3f}".format(*interval(tests))
            shown = f"{spread(tests, 4)} (95 % t interval {ends})"
        found.append(f"| {depth} | {pick['lr']:.4f} | {shown} | {count} | {pick['value']:.3f} |")
    return [*found, *long_rates()]


def long_rates() -> list[str]:
    """Of the highest rates, and of what was seen of training."""
    at = [first_rung(LONG, cell) for cell in range(5)]
    top = [rows.iloc[-1] for rows in at]
    assert [int(row["rank"]) for row in top[1:4]] == [9, 9, 9]
    assert [int(top[cell]["rank"]) for cell in (4, 0)] == [8, 7]
    for cell, rows in enumerate(at):
        assert rows["lr"].iloc[0] < winner(LONG, cell)["lr"] < rows["lr"].iloc[-1]
    rates = [row["lr"] for row in top[:4]]
    ends = [seeds(LONG, cell)["last_train_accuracy"].astype(float).mean() for cell in (0, 3)]
    assert winner(LONG, 2)["lr"].round(4) == 0.0034
    deep = load(LONG).trials.query("cell == 4 and stage != 'confirm'")["trial"]
    first = max(curve(LONG, trial, "train_accuracy")[1] for trial in deep)
    losses = [curve(LONG, top[cell]["trial"], "train_loss")[1] for cell in (0, 3)]
    both = " and ".join(f"{v:.2f}" for v in seeds(LONG, 2)["test_accuracy"])
    return [
        f"({ends[0]:.2f} at depth 18, {ends[1]:.2f} at 101)",
        f"({min(rates):.3f} to {max(rates):.3f}, close to the report's 0.1; at depth 152 "
        f"{top[4]['lr']:.3f}) was the last of nine after two epochs at depth 34, 50 and 101, the "
        "last but one at 152, and seventh at 18",
        f"as ours at {top[2]['lr']:.3f} ({top[2]['value']:.2f})",
        f"above the {both} that the chosen {winner(LONG, 2)['lr']:.4f} reaches",
        f"(ours at {top[0]['lr']:.3f}: {losses[0]:.2f})",
        f"(ours at {top[3]['lr']:.4f}: {losses[1]:.2f})",
        f"ours never more than {first:.2f} at nine rates",
    ]


def plain_figures() -> list[str]:
    """Of cifar10-plain."""
    held = load(PLAIN)
    low, high = held.study["spec"]["space"]["lr"]["low"], held.study["spec"]["space"]["lr"]["high"]
    assert held.study["spec"]["budget"]["trials_per_cell"] == 8
    found = [
        *(text.replace("commit ", "names commit ") for text in setup(PLAIN)),
        f"{seconds_of_driver(PLAIN):.0f} seconds from the first job to the last, "
        f"{held.trials['seconds'].sum():.0f} seconds of workers",
        f"log-uniform from {low} to {high}, promotion ASHA with rungs at "
        "{}, {} and {} epochs".format(*held.study["rungs"]),
        "epochs of 45,000 images",
    ]
    ends = []
    for cell, depth in enumerate((18, 34, 50)):
        rows, lr = seeds(PLAIN, cell), winner(PLAIN, cell)["lr"]
        tests = rows["test_accuracy"].astype(float)
        ends.append(interval(tests))
        lowest = " (lowest tried)" * bool(lr == first_rung(PLAIN, cell)["lr"].iloc[0])
        found.append(
            f"| {depth} | {lr:.4f}{lowest} | {spread(tests, 4)} | "
            f"{ends[-1][0]:.3f} to {ends[-1][1]:.3f} | "
            f"{spread(rows['test_loss'].astype(float), 3)} |"
        )
    assert ends[0][0] > ends[1][1]
    assert ends[1][0] > ends[2][1]
    for cell in (0, 1):
        near = first_rung(PLAIN, cell).query("lr > 0.09 and lr < 0.12")
        assert list(near["rank"]) == [7]
        assert round(float(near["lr"].iloc[0] / winner(PLAIN, cell)["lr"]), -0) in (8, 9, 10)
    audits = held.decisions.query("verdict == 'audited'")
    better = sum(
        row["value"] > winner(PLAIN, row["cell"])["value"] for _, row in audits.iterrows()
    )
    assert (len(audits), better) == (2, 0)
    wilson = stats.binomtest(better, len(audits)).proportion_ci(method="wilson")
    tests = seeds(PLAIN, 0)["test_accuracy"].mean()
    return [
        *found,
        f"(95 % Wilson interval {wilson.low:.0%} to {wilson.high:.0%})".replace(
            "0% ", "0 "
        ).replace("%)", " %)"),
        f"Depth 18 is at {tests:.2f} after 9 epochs",
    ]


def crowd_figures() -> list[str]:
    """Of crowd-a-64px, and of the network that it started from."""
    held, source = load(CROWD), load(SOURCE)
    found = setup(CROWD)
    (data,), (other,) = held.study["data"], load(CONV_A).study["data"]
    assert data["annotations_sha256"] == other["annotations_sha256"] and "notes" not in data
    pair = re.search(r"test (\w+) is train (\w+)", " ".join(other["notes"]))
    assert pair is not None and other["copies_left_out"] == 1
    found.append(f"test {pair[1]} is train {pair[2]}, pixel for pixel")
    one = source.trials.iloc[0]
    told = json.loads(held.trials["baselines"].dropna().iloc[0])
    median = told["training median"]["mae"]
    maes = {}
    for cell, at in enumerate(held.study["cells"]):
        rows, lr = seeds(CROWD, cell), winner(CROWD, cell)["lr"]
        maes[cell] = rows["test_mae"].astype(float)
        name = "from CIFAR-10 weights" if at["pretrained"] else "from scratch"
        small = f"{lr:.1e}".replace("e-0", "e-")
        skill, rmse = 1 - maes[cell].mean() / median, rows["test_rmse"].astype(float)
        found.append(
            f"| {name} | {small} | {spread(maes[cell], 1)} | {spread(rmse, 1)} | {skill:.2f} |"
        )
        assert (maes[cell] < min(scores["mae"] for scores in told.values())).all()
    for name, end in (("training median", "| 0 |"), ("training mean", "| |"), ("zero", "| |")):
        scores = told[name]
        found.append(f"| {name} | | {scores['mae']:.1f} | {scores['rmse']:.1f} {end}")
    own = [bool(at["pretrained"]) for at in held.study["cells"]]
    gap = stats.ttest_ind(maes[own.index(False)], maes[own.index(True)], equal_var=False)
    ends = gap.confidence_interval(0.95)
    picked = [epoch for cell in maes for epoch in seeds(CROWD, cell)["value_epoch"]]
    late = held.trials.query("stage == 'search' and lr > 0.0015")
    assert set(late["epochs"]) == {held.study["rungs"][0]}
    return [
        *found,
        f"in {seconds_of_driver(CROWD) / 60:.0f} minutes",
        f"{ends.low:.1f} to {ends.high:.1f} people an image (Welch, 95 %, over seeds)",
        "rungs at {}, {} and {} epochs".format(*held.study["rungs"]),
        f"{one['seconds']:,.0f} s; validation accuracy {one['value']:.3f} at epoch "
        f"{one['value_epoch']}, test {one['test_accuracy']:.4f})",
        f"for {source.study['rungs'][-1]} epochs on the same machine",
        f"a lucky epoch, {min(picked)} to {max(picked)}",
        f"The rates from {late['lr'].min():.4f} on all ended at the first rung",
    ]


def of_seeds(name: str, lr: str) -> list[str]:
    """The rows of a crowd's seeds, and of the median, in its table."""
    told = json.loads(load(name).trials["baselines"].dropna().iloc[0])["training median"]
    return [
        *(
            f"| seed {seed}, lr {lr} | {row['value']:.1f} | {row['test_mae']:.1f} | "
            f"{row['test_rmse']:.1f} |"
            for seed, (_, row) in enumerate(seeds(name, 0).iterrows(), 1)
        ),
        f"| training median | | {told['mae']:.1f} | {told['rmse']:.1f} |",
    ]


def against_median(name: str) -> list[str]:
    """What the seeds of a crowd's only cell gain over the best constant, and in what time."""
    rows = seeds(name, 0)
    told = json.loads(load(name).trials["baselines"].dropna().iloc[0])["training median"]
    less = f"{1 - rows['test_mae'].astype(float).mean() / told['mae']:.0%}".replace("%", " %")
    return [
        f"- {less} less error than the best constant",
        f"after {max(rows['seconds']) / 60:.0f} minutes of one core a seed",
    ]


def conv_figures() -> list[str]:
    """Of crowd-b-conv."""
    held = load(CONV)
    rows, pick = seeds(CONV, 0), winner(CONV, 0)
    assert pick["lr"] == held.trials["lr"].min() and len(rows) == 2
    full = list(held.trials.query("epochs == 36")["trial"])
    late = pd.concat([curve(CONV, trial, "val_mae")[5:] for trial in full])
    ends = [round(curve(CONV, trial, "train_mae").iloc[-1]) for trial in full]
    assert min(ends) == 25 and max(ends) == 27
    mean = json.loads(rows["baselines"].iloc[0])["training mean"]["rmse"]
    off = rows["test_mae"].astype(float) - rows["value"].astype(float)
    return [
        *setup(CONV),
        f"epochs in {seconds_of_driver(CONV) / 60:.0f} minutes",
        *of_seeds(CONV, f"{pick['lr']:.4f}"),
        f"after {min(held.trials.query('epochs == 36')['seconds']) / 60:.0f} minutes of one core",
        f"between {late.min():.0f} and {late.max():.0f} from epoch 5 on",
        f"are missed by {min(ends)} to {max(ends)} at the end",
        f"is {off.min():.0f} to {off.max():.0f} better than test",
        f"the training mean ({mean:.1f})",
    ]


def huber_figures() -> list[str]:
    """Of crowd-a-huber, and of what it is to the one before."""
    held = load(HUBER)
    rows, pick = seeds(HUBER, 0), winner(HUBER, 0)
    assert pick["lr"] == held.trials["lr"].min() and len(rows) == 2
    moved = diff(load(CONV_A), held).set_index("metric").loc["mae"]
    return [
        *setup(HUBER),
        f"epochs in {seconds_of_driver(HUBER) / 60:.0f} minutes",
        *of_seeds(HUBER, f"{pick['lr']:g}"),
        *against_median(HUBER),
        f"({moved['change']:.1f}, {moved['lo']:.1f} to {moved['hi']:.1f})",
    ]


def long_a_figures() -> list[str]:
    """Of crowd-a-long, and of what it is to the one before."""
    held = load(LONG_A)
    rows, pick = seeds(LONG_A, 0), winner(LONG_A, 0)
    assert pick["lr"] == held.trials["lr"].min() and len(rows) == 2
    assert (rows["test_rmse"].astype(float) < 173.2).all()  # MCNN's
    moved = diff(load(HUBER), held).set_index("metric").loc["mae"]
    late = pd.concat([curve(LONG_A, trial, "train_mae")[10:] for trial in rows["trial"]])
    less, after = against_median(LONG_A)
    return [
        *setup(LONG_A),
        f"epochs in {seconds_of_driver(LONG_A) / 60:.0f} minutes",
        *of_seeds(LONG_A, f"{pick['lr']:g}"),
        less,
        after,
        f"({moved['change']:.1f}, {moved['lo']:.1f} to {moved['hi']:.1f})",
        f"moved between {late.min():.0f} and {late.max():.0f} over",
    ]


def stride_figures() -> list[str]:
    """Of crowd-b-stride8, and of what it is to the one before."""
    held = load(STRIDE)
    rows, pick = seeds(STRIDE, 0), winner(STRIDE, 0)
    assert pick["lr"] == held.trials["lr"].min() and len(rows) == 2
    moved = diff(load(CONV), held).set_index("metric").loc["mae"]
    ends = [
        curve(STRIDE, trial, "train_mae").iloc[-1] for trial in [*rows["trial"], str(pick.name)]
    ]
    rmse = json.loads(rows["baselines"].iloc[0])["training mean"]["rmse"]
    off = rows["test_mae"].astype(float) - rows["value"].astype(float)
    assert (rows["test_rmse"].astype(float) < rmse).all()
    return [
        *setup(STRIDE),
        f"epochs in {seconds_of_driver(STRIDE) / 60:.0f} minutes",
        *of_seeds(STRIDE, f"{pick['lr']:g}"),
        *against_median(STRIDE),
        f"({moved['change']:.1f}, {moved['lo']:.1f} to {moved['hi']:.1f})",
        f"by {min(ends):.0f} to {max(ends):.0f} at the end",
        f"is {off.min():.0f} to {off.max():.0f} better than test",
    ]


def conv_a_figures() -> list[str]:
    """Of crowd-a-conv."""
    held = load(CONV_A)
    rows, pick = seeds(CONV_A, 0), winner(CONV_A, 0)
    assert pick["lr"] == held.trials["lr"].max() and len(rows) == 2
    ends = [
        curve(CONV_A, trial, "train_mae").iloc[-1] for trial in [*rows["trial"], str(pick.name)]
    ]
    watched, skill = (curve(CONV_A, str(pick.name), f"val_{name}") for name in ("mae", "skill"))
    return [
        *setup(CONV_A),
        f"epochs in {seconds_of_driver(CONV_A) / 60:.0f} minutes",
        *of_seeds(CONV_A, f"{pick['lr']:g}"),
        *against_median(CONV_A),
        f"the training median misses {watched.iloc[-1] / (1 - skill.iloc[-1]):.0f} a",
        f"to {min(ends):.0f} to {max(ends):.0f}",
    ]


def collapse_figures() -> list[str]:
    """Of report-crowd-lr-b."""
    held, found = load(REPORT_B), setup(REPORT_B)
    published = published_frame().query(
        "part == 'B' and depth == 18 and metric.isin(['mae', 'rmse'])"
    )
    assert held.trials["collapsed"].all() and set(held.trials["epochs"]) == {2}
    for trial in held.trials.to_dict("records"):
        live, spread, rank, fallen = (
            curve(REPORT_B, trial["trial"], f"test_{name}")
            for name in ("live", "spread", "rank", "collapsed")
        )
        own = published[published["lr"].astype(float) == trial["lr"]].drop_duplicates("metric")
        mae, rmse = (own.set_index("metric").loc[name, "value"] for name in ("mae", "rmse"))
        found.append(
            f"| lr {trial['lr']:g} | {trial['test_mae']:.1f} | {trial['test_rmse']:.1f} "
            f"| {mae:.1f}, {rmse:.1f} | {100 * live.iloc[-1]:.1f} % | {spread.iloc[-1]:.3f} "
            "| collapsed |"
        )
        assert list(fallen) == [float(trial["lr"] == 0.1), 1.0]
        if trial["lr"] == 0.01:
            found.append(f"(spread {spread.iloc[0]:.2f}, rank correlation {rank.iloc[0]:.2f})")
    told = json.loads(held.trials["baselines"].dropna().iloc[0])
    for name in ("zero", "training median"):
        found.append(f"| {name} | {told[name]['mae']:.1f} | {told[name]['rmse']:.1f} |")
    return [*found, f"epochs in {seconds_of_driver(REPORT_B) / 60:.0f} minutes"]


FIGURES: dict[str, Callable[[], list[str]]] = {
    LONG: long_figures,
    PLAIN: plain_figures,
    CROWD: crowd_figures,
    CONV: conv_figures,
    CONV_A: conv_a_figures,
    HUBER: huber_figures,
    STRIDE: stride_figures,
    REPORT_B: collapse_figures,
    LONG_A: long_a_figures,
}
# numbers that are no figure of ours: of settings, hardware, words, or published
OTHERS = {
    LONG: "18 34 50 101 152 30 H200 TF32 0.9 128 10 0.45 0.68 0.1 0.52 0.49 0.67 0.75 0.80 0.26"
    " 4.50 2.55 cifar10-scratch-30",
    PLAIN: "9 H200 TF32 b154d9e 0.9 128 10 0.45 0.68 0.1 18 34 50 0.66 200 95 3 cifar10-plain",
    CROWD: "10 64x64 18 8 1.875 0.0625 0.1875 60 300 1e-5 1e-2 0.02 0.0005 64th 0.01 321.9 401.4"
    " 512x512 7.8e-5 1.5e-4 3 AVX2 64px fp32 cifar10-source",
    CONV: "512 AVX-512 fp32 18 4 16 192 360 8 0.99 32 40 12 2016 26.4 41.3 36.0 23 45 25 55 20 36"
    " 5",
    CONV_A: "512 AVX-512 4 269 121 98 30 10 40 2016 110.2 173.2 105 bf16 crowd-a-huber",
    LONG_A: "512 AVX-512 4 2.5 30 0.0005 0.001 0.002 5 20 2016 110.2 173.2 105 bf16 8"
    " crowd-a-huber",
    REPORT_B: "512 AVX-512 0.01 0.1 2 4 50 512x512 18 1 0.001 8 fp32",
    STRIDE: "512 AVX-512 8 3 16 bf16 0.002 4 20 2016 26.4 41.3 25 27 12 30.7 25.7 1.6 47.8 29.8"
    " 28.4 256 18 32 stride8 0.001 0.3 380 15 0.995 25.2 24.9",
    # and of trainings that are said to be not on record
    HUBER: "512 AVX-512 4 0.3 0.995 0.001 0.003 12 48 2016 110.2 173.2 105 bf16 crowd-a-conv 75"
    " 299 20 179.4 153.1 149.6 143.7 172.1 18 63 67 25 30 1",
}


@pytest.mark.parametrize("name", FIGURES)
def test_the_figures_in_the_document_are_those_of_the_record(name):
    text = section(name)
    missing = [figure for figure in FIGURES[name]() if figure not in text]
    assert not missing, text


@pytest.mark.parametrize("name", FIGURES)
def test_no_number_in_the_document_is_left_unchecked(name):
    text, checked = section(name), set[int]()
    for figure in FIGURES[name]():
        for found in re.finditer(re.escape(figure), text):
            checked.update(range(*found.span()))
    numbers = re.finditer(r"[\w.,]*\d[\w.,-]*", text)
    left = {n[0].strip(".,") for n in numbers if not set(range(*n.span())) & checked}
    left -= set(OTHERS[name].split())
    assert not left
