"""`resnet-search preview` and `simulate`: what a study would take and do, without running it."""

from __future__ import annotations

import argparse
import json
import math
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.table import Table

from search.cli.detectable_lines import detectable_lines
from search.record.naming import cell_label
from search.spec.overrides import add_overrides, given_overrides
from trainables.errors import UserError

if TYPE_CHECKING:
    from search.run.measuring import EpochTime
    from search.run.options import Options
    from search.schedule.curves import Curves
    from search.schedule.preview import Preview
    from search.spec.plan import Plan
    from search.spec.study_spec import StudySpec

SHOWN = {  # key of mean_outcome -> (head, format)
    "filled": ("cells filled", "{:.2f}"),
    "best_full": ("best config in full", "{:.2f}"),
    "regret": ("regret", "{:.4f}"),
    "cost": ("share of full cost", "{:.1%}"),
    "wall": ("wall time", "{:,.0f}"),
    "idle": ("idle", "{:.1%}"),
    "decisions_per_second": ("decisions/s", "{:,.0f}"),
}


def add_commands(commands: Any, console: Any) -> None:
    """Add the two commands to the parser's; `console` makes the Console to print on."""
    for name, text, command in (
        ("preview", "what a study will take: trials, epochs, wall time, memory", _preview),
        ("simulate", "a study's rule against learning curves, in virtual time", _simulate),
    ):
        parser = commands.add_parser(name, help=text)
        parser.add_argument("study", metavar="STUDY", help="a TOML file, or a shipped study")
        add_overrides(parser)
        parser.add_argument(
            "--workers", type=_count, default=1, metavar="W", help="trials at once; default: 1"
        )
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.set_defaults(command=lambda a, run=command: run(a, console()))
        if name == "preview":
            _add_times(parser)
            continue
        parser.add_argument(
            "--curves",
            default="synthetic:slow-start",
            metavar="FILE",
            help="a run folder, a csv or parquet table, or synthetic:FAMILY; default: "
            "synthetic:slow-start",
        )
        parser.add_argument("--metric", help="column of the table; default: the study's metric")
        parser.add_argument("--repeats", type=_count, default=20, metavar="R", help="default: 20")
        parser.add_argument(
            "--rule",
            action="append",
            choices=("cell-promote", "cell-stop", "ray-asha", "full"),
            help="may be repeated; default: all four",
        )


def _add_times(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--epoch-seconds", type=_positive, metavar="S", help="of one epoch of one trial"
    )
    parser.add_argument(
        "--measure",
        action="store_true",
        help="take a few real steps of each depth here, for wall time in hours",
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        help="check the data, and measure on it; default: $RESNET_TUNE_DATA or ./data",
    )
    parser.add_argument(
        "--runs-dir",
        type=Path,
        default=Path("runs"),
        help="studies there that ran on this kind of machine lend their times; default: ./runs",
    )


def _positive(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return value


def _load(arguments: argparse.Namespace) -> StudySpec:
    from search.spec.shipped import find_study
    from search.spec.study_spec import load_spec

    return load_spec(find_study(arguments.study), given_overrides(arguments))[0]


def _preview(arguments: argparse.Namespace, console: Console) -> int:
    from search.run.lenders import lent
    from search.run.measuring import measure
    from search.run.network_checks import check_networks
    from search.run.preflight import fingerprints, told_by_data
    from search.schedule.detectable import detectable
    from search.schedule.preview import preview
    from search.spec.questions import find_questions

    spec = _load(arguments)
    options = _data_options(arguments, console)
    data: list[dict[str, Any]] = []
    if arguments.data_dir or arguments.measure:
        data = fingerprints(spec, options)
        spec = told_by_data(spec, data)
    check_networks(spec)
    wanted = not (arguments.measure or arguments.epoch_seconds)
    times, spread = lent(spec, arguments.runs_dir, times=wanted)
    if arguments.measure:
        times = measure(spec, data, options)
    cells = len(spec.cell_values())
    known = sum(len(t.cells) for t in times) == cells
    seconds = arguments.epoch_seconds
    if known and seconds is None:  # every cell trains as many epochs
        seconds = sum(t.seconds * len(t.cells) for t in times) / cells
    held = preview(spec, arguments.workers, seconds)
    decides, questions = detectable(spec), find_questions(spec, data)
    if arguments.json:
        told = {
            "epoch_times": [asdict(t) for t in times],
            "detectable": [asdict(d) for d in decides],
            "seed_spread": asdict(spread) if spread else None,
            "questions": questions,
        }
        print(json.dumps({**asdict(held), **told}, indent=1))
        return 0
    _show_preview(spec, held, console)
    for line in [*_time_lines(spec, held, times, seconds), *detectable_lines(decides, spread)]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for key, question in questions.items():
        console.print(f"note: {key}: {question}", markup=False, highlight=False, soft_wrap=True)
    return 0


def _data_options(arguments: argparse.Namespace, console: Console) -> Options:
    from search.run.options import Options

    def say(text: str) -> None:
        if not arguments.json:
            console.print(text, style="dim", markup=False, highlight=False, soft_wrap=True)

    folder = arguments.data_dir or Path(os.environ.get("RESNET_TUNE_DATA", "data"))
    none = Path()  # no weights are looked at, and nothing is run
    return Options(folder.resolve(), none, none, "local", say, download=False)


def _time_lines(
    spec: StudySpec, held: Preview, times: list[EpochTime], seconds: float | None
) -> list[str]:
    """What the times are by, and hours of one device."""
    cells = spec.cell_values()
    lines = []
    for time in times:
        names = "; ".join(cell_label(cells[n]) for n in time.cells)
        source = "measured" if time.source == "measured" else f"of study {time.source}"
        lines.append(f"an epoch of {names}: {time.seconds:,.3g} s on {time.device} ({source})")
    if seconds and times:
        gpus = all(time.device != "cpu" for time in times) and times[0].source == "measured"
        name = "GPU-hours, a trial alone on its GPU" if gpus else "hours of one trial's device"
        rest = held.audit_epochs[0] + held.confirm_epochs
        low, high = ((epochs + rest) * seconds / 3600 for epochs in held.search_epochs)
        lines.append(f"{name}: {low:,.3g} to {high:,.3g} for the whole study")
    return lines


def _show_preview(spec: StudySpec, held: Preview, console: Console) -> None:
    table = Table(title=f"{spec.name}: {spec.scheduler}, {held.cells} cells", box=None)
    table.title_justify = "left"
    for name in ("rung (epochs)", "trials a cell", "at most"):
        table.add_column(name, justify="right")
    for rung, n, most in zip(held.rungs, held.reaching, held.reaching_at_most, strict=True):
        table.add_row(str(rung), str(n), str(most))
    console.print(table)
    low, high = held.search_epochs
    lines = [
        f"trials: {held.trials} in the search",
        f"epochs: search {low:,} (at most {high:,} while nothing fails or diverges, "
        f"{held.full_epochs:,} otherwise), audit {held.audit_epochs[0]:,}, "
        f"confirmation {held.confirm_epochs:,}",
        f"share of training every config in full: {held.share[0]:.1%} "
        f"(at most {held.share[1]:.1%}), audit included",
        f"wall time on {held.workers} worker{'s' * (held.workers != 1)}: "
        f"{held.wall_epochs[0]:,.0f} to {held.wall_epochs[1]:,.0f} epochs of one trial",
    ]
    if not spec.space:
        lines.insert(0, "nothing is tuned: each cell is trained as it is, once a seed")
    if spec.scheduler == "ray-asha":
        lines.insert(0, "Ray's ASHA ends trials as it goes; what follows is the most it can take")
    if held.wall_hours:
        lines[-1] += f", {held.wall_hours[0]:.2g} to {held.wall_hours[1]:.2g} hours"
    memory = held.memory_mb
    lines.append(
        f"memory of a trial, activations aside: {min(memory.values()):,.0f} to "
        f"{max(memory.values()):,.0f} MiB (most: {max(memory, key=lambda k: memory[k])})"
    )
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _simulate(arguments: argparse.Namespace, console: Console) -> int:
    from search.schedule.rules import SIMULATED
    from search.schedule.simulator import mean_outcome, simulate
    from search.spec.cells import make_plan

    spec = _load(arguments)
    # the rules compared have rungs, whatever the study itself goes by
    plan = make_plan(spec.model_copy(update={"scheduler": "cell-promote"}))
    if not plan.trials_per_cell:
        raise UserError(f"study {spec.name} has no [space], so there is nothing to simulate")
    drawn = _curves(arguments, spec, plan)
    plan = replace(plan, mode=drawn[0].mode)
    held = {
        rule: mean_outcome(
            [simulate(rule, plan, c, arguments.workers, i) for i, c in enumerate(drawn)]
        )
        for rule in arguments.rule or SIMULATED
    }
    if arguments.json:
        plain = {rule: {k: _json(v) for k, v in row.items()} for rule, row in held.items()}
        told = {"study": spec.name, "curves": arguments.curves, "notes": drawn[0].notes}
        print(json.dumps({**told, "rules": plain}, indent=1))
        return 0
    for note in drawn[0].notes:
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    timed = "seconds" if drawn[0].timed else "epochs of one trial"
    title = (
        f"{spec.name} on {arguments.curves}: {len(drawn[0].values)} cells of "
        f"{plan.trials_per_cell} configs, {arguments.workers} workers, means of "
        f"{arguments.repeats} repeats; {'larger' if plan.mode == 'max' else 'smaller'} is better; "
        f"wall time of the search in {timed}"
    )
    table = Table(title=title, box=None, title_justify="left")
    table.add_column("rule")
    for head, _ in SHOWN.values():
        table.add_column(head, justify="right")
    for rule, row in held.items():
        table.add_row(rule, *(form.format(row[key]) for key, (_, form) in SHOWN.items()))
    console.print(table)
    return 0


def _json(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _mode_of(metric: str) -> Literal["max", "min"]:
    """Which values of a metric are better, by its name.

    Raises:
        CurvesError: the name does not say.
    """
    from search.schedule.curve_table import CurvesError

    ends: dict[str, Literal["max", "min"]] = {
        "accuracy": "max",
        "loss": "min",
        "mae": "min",
        "rmse": "min",
        "error": "min",
    }
    for end, mode in ends.items():
        if metric.endswith(end):
            return mode
    raise CurvesError(
        f"--metric {metric}: its name does not say whether more is better; end it in one of "
        f"{', '.join(ends)}"
    )


def _curves(arguments: argparse.Namespace, spec: StudySpec, plan: Plan) -> list[Curves]:
    """The curves of every repeat: the file's, always the same, or newly drawn synthetic ones."""
    import numpy as np

    from search.schedule.curve_table import CurvesError
    from search.schedule.curves import read_curves, synthetic_curves
    from trainables import find_task
    from trainables.engine.train import watched_metric

    cells, epochs, repeats = spec.cell_values(), plan.rungs[-1], range(arguments.repeats)
    kind, _, family = arguments.curves.partition(":")
    if kind == "synthetic":
        drawn = [np.random.default_rng([spec.seed, repeat]) for repeat in repeats]
        shape = len(cells), plan.trials_per_cell, epochs
        return [synthetic_curves(family, *shape, rng) for rng in drawn]
    path, task = Path(arguments.curves), find_task(spec.task)
    config = spec.config(cells[0], {})
    metric = watched_metric(task, config) if path.is_dir() else task.metric
    metric, named = arguments.metric or metric, arguments.metric is not None
    mode = task.mode if metric.endswith(task.metric) else _mode_of(metric)
    curves = read_curves(path, cells, metric, mode, epochs, config["checkpoint_rule"], named)
    fewest = min(map(len, curves.values))
    if fewest < plan.trials_per_cell:
        raise CurvesError(
            "\n".join(
                [
                    f"{path}: a cell has {fewest} whole curves and the study draws "
                    f"{plan.trials_per_cell} configs a cell; "
                    f"--set budget.trials_per_cell={fewest}",
                    *curves.notes,
                ]
            )
        )
    return [curves for _ in repeats]
