"""The commands of `resnet-search`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tomllib
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from search import record
from search.cli.cache_command import add_cache, show_cache
from search.cli.doctor_command import add_doctor, doctor
from search.cli.plan_commands import add_commands
from search.cli.run_commands import (
    add_places,
    add_run_commands,
    make_console,
    make_options,
    resume,
    run,
)
from search.record import terminal
from search.record.arguments import parsed
from search.run.errors import ExecutionError
from search.run.signals import handled, interrupt
from search.spec.shipped import shipped_studies
from trainables.errors import UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0 done, 1 failed, 2 bad input, 130 interrupted.

    A failure of the system, a full disk for example, is 1; so is output that nobody reads.
    """

    def command() -> int:
        parser, commands = _parser()
        words = sys.argv[1:] if argv is None else argv
        arguments = parsed(parser, commands, words)
        trains = arguments.command in (run, resume)
        with handled(interrupt) if trains else nullcontext():
            return int(arguments.command(arguments))

    return terminal.run("resnet-search", command, {UserError: 2, ExecutionError: 1})


def _parser() -> tuple[argparse.ArgumentParser, list[str]]:
    """The parser, and the names of its commands."""
    parser = argparse.ArgumentParser(prog="resnet-search", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_run_commands(commands)
    examined = add_doctor(commands)
    examined.add_argument("--runs-dir", type=Path, default=Path("runs"), help="default: ./runs")
    examined.set_defaults(command=_doctor)
    add_places(examined)
    add_commands(commands, make_console)
    weights = commands.add_parser(
        "weights", help="a finished study's networks as weights that another study starts from"
    )
    weights.add_argument("run", type=Path, metavar="RUN", help="its run folder")
    weights.add_argument(
        "--out",
        type=Path,
        help='where to; default: weights/STUDY, which `weights = "STUDY"` finds',
    )
    weights.add_argument("--cell", type=int, metavar="N", help="its number; where depths repeat")
    weights.add_argument(
        "--trial", metavar="NAME", help="its name; where nothing but test could choose one"
    )
    weights.set_defaults(command=_weights)
    optuna = commands.add_parser(
        "optuna", help="write a run's search as optuna-dashboard reads it"
    )
    optuna.add_argument("run", type=Path, metavar="RUN", help="its run folder")
    optuna.set_defaults(command=_optuna)
    add_cache(commands).set_defaults(command=_cache)
    studies = commands.add_parser("studies", help="list the shipped studies")
    studies.set_defaults(command=_studies)
    settings = commands.add_parser(
        "settings", help="what [cells], [space] and [fixed] of a task's study may hold"
    )
    settings.add_argument("task", metavar="TASK", help="of a study, e.g. cifar10 or my_task:TASK")
    settings.set_defaults(command=_settings)
    return parser, list(commands.choices)


def _doctor(arguments: argparse.Namespace) -> int:
    console = make_console()
    return doctor(arguments, make_options(arguments, arguments.runs_dir, console, {}), console)


def _weights(arguments: argparse.Namespace) -> int:
    from search.run.weights import write_weights

    name = record.load_study(arguments.run)["name"]
    out = arguments.out or Path(os.environ.get("RESNET_TUNE_WEIGHTS", "weights")) / name
    for path in write_weights(arguments.run, out, arguments.cell, arguments.trial):
        origin = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        value = ", ".join(f"{key} {held:.4g}" for key, held in origin["value"].items())
        print(f"{path}: trial {origin['trial']}, epoch {origin['epochs']}, {value}")
    print(f"a study starts from them with weights = {json.dumps(out.name, ensure_ascii=False)}")
    return 0


def _optuna(arguments: argparse.Namespace) -> int:
    from search.record.optuna_view import write

    path = write(arguments.run)
    look = terminal.shell("optuna-dashboard", os.path.relpath(path))
    print(f"{path}: a study a cell. Look: {look}")
    return 0


def _cache(arguments: argparse.Namespace) -> int:
    return show_cache(arguments, make_console())


def _studies(arguments: argparse.Namespace) -> int:
    for name, path in shipped_studies().items():
        print(
            f"{name:20} {tomllib.loads(path.read_text(encoding='utf-8')).get('description', '')}"
        )
    return 0


def _settings(arguments: argparse.Namespace) -> int:
    from rich.table import Table

    from trainables import find_task
    from trainables.errors import TaskError
    from trainables.own_code import import_from

    if ":" in arguments.task:
        import_from(Path.cwd())
    try:
        task = find_task(arguments.task)
    except TaskError as error:
        raise TaskError(f"TASK {error}") from None
    table = Table("setting", "default", "allowed", "where", "what", box=None)
    where = {"any": "cells, space, fixed", "cell": "cells, fixed", "study": "fixed"}
    for name, setting in task.settings.items():
        default = "" if setting.default is None else str(setting.default)
        table.add_row(name, default, setting.allowed(), where[setting.role], setting.doc)
    make_console().print(table)
    return 0
