"""`resnet-search run|resume|doctor|status|preview|simulate|weights|optuna|studies|settings`."""

from __future__ import annotations

import argparse
import difflib
import json
import os
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from rich.console import Console

from search import record
from search.cli.doctor_command import add_doctor, doctor
from search.cli.plan_commands import add_commands
from search.record import Record, missing, terminal
from search.record.uris import child, last_name, parse_place, refuse_uri
from search.run.errors import ExecutionError
from search.run.signals import handled, interrupt
from search.spec.overrides import add_overrides, given_overrides
from search.spec.shipped import shipped_studies
from trainables.errors import UserError

if TYPE_CHECKING:  # each takes seconds to import, and `status` needs none of them
    from search.cli.progress import Progress
    from search.run.preflight import Options
    from search.spec.study_spec import StudySpec


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0 done, 1 failed, 2 bad input, 130 interrupted.

    A failure of the system, a full disk for example, is 1; so is output that nobody reads.
    """

    def command() -> int:
        arguments = _parse(sys.argv[1:] if argv is None else argv)
        trains = arguments.command in (_run, _resume)
        with handled(interrupt) if trains else nullcontext():
            return int(arguments.command(arguments))

    return terminal.run("resnet-search", command, {UserError: 2, ExecutionError: 1})


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser, commands = _parser()
    if words and words[0] not in (*commands, "-h", "--help"):
        if words[0].startswith("-"):
            parser.error(f"the command comes first, then {words[0]}: one of {', '.join(commands)}")
        near = difflib.get_close_matches(words[0], commands, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(commands)}"
        parser.error(f"no command {words[0]}; {hint}")
    arguments, unknown = parser.parse_known_args(words)
    if unknown:
        parser.error(f"`{words[0]}` takes no {unknown[0]}; see `resnet-search {words[0]} --help`")
    for name, value in vars(arguments).items():
        if isinstance(value, Path) and name != "run":  # of a run whoever reads it says what to do
            refuse_uri(f"--{name.replace('_', '-')}", value)
    return arguments


def _parser() -> tuple[argparse.ArgumentParser, list[str]]:
    """The parser, and the names of its commands."""
    parser = argparse.ArgumentParser(prog="resnet-search", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run a study file, or a shipped study by name")
    run.add_argument("study", metavar="STUDY", help="a TOML file, or a name from `studies`")
    add_overrides(run)
    run.add_argument("--name", help="name of the run folder, instead of the study's own")
    run.add_argument(
        "--runs-dir",
        type=parse_place,
        default=Path("runs"),
        help="a folder that all nodes see, or a URI such as s3://bucket/runs; default: ./runs",
    )
    run.set_defaults(command=_run)
    resume = commands.add_parser(
        "resume", help="go on with a study that was interrupted or killed"
    )
    resume.add_argument("run", type=parse_place, metavar="RUN", help="its run folder, or URI")
    resume.add_argument(
        "--retry-failed",
        action="store_true",
        help="run failed trials again; of the search only where a cell has no winner yet",
    )
    resume.set_defaults(command=_resume)
    for command in (run, resume):
        command.add_argument(
            "--local-dir",
            type=Path,
            default=Path("runs"),
            help="of a study at a URI: folder of this driver's own copy of it; default: ./runs",
        )
    fetched = commands.add_parser("fetch", help="bring a run from a URI to a folder")
    fetched.add_argument("run", type=parse_place, metavar="URI", help="e.g. s3://bucket/runs/mine")
    fetched.add_argument("--to", type=Path, help="the run folder; default: runs/NAME")
    fetched.add_argument("--checkpoints", action="store_true", help="its checkpoints too")
    fetched.set_defaults(command=_fetch)
    examined = add_doctor(commands)
    examined.add_argument("--runs-dir", type=Path, default=Path("runs"), help="default: ./runs")
    examined.set_defaults(command=_doctor)
    for command in (run, resume, examined):
        _add_places(command)
    status = commands.add_parser(
        "status",
        help="how far a study is, also while it runs; exit status 1 while something is missing",
    )
    status.add_argument("run", type=parse_place, metavar="RUN", help="its run folder, or URI")
    status.set_defaults(command=_status)
    add_commands(commands, _console)
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
    studies = commands.add_parser("studies", help="list the shipped studies")
    studies.set_defaults(command=_studies)
    settings = commands.add_parser(
        "settings", help="what [cells], [space] and [fixed] of a task's study may hold"
    )
    settings.add_argument("task", metavar="TASK", help="of a study, e.g. cifar10 or my_task:TASK")
    settings.set_defaults(command=_settings)
    return parser, list(commands.choices)


def _add_places(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--data-dir",
        type=Path,
        help="folder of the data sets; default: $RESNET_TUNE_DATA or ./data; resume: as before",
    )
    command.add_argument(
        "--weights-dir",
        type=Path,
        help="folder of pretrained weights; default: $RESNET_TUNE_WEIGHTS or ./weights",
    )
    command.add_argument(
        "--address",
        help="Ray: local (default; resume: as before), auto (this machine's cluster), HOST:PORT",
    )
    command.add_argument(
        "--offline",
        action="store_true",
        help="never download; missing data or weights are an error",
    )


def _run(arguments: argparse.Namespace) -> int:
    from search.spec.shipped import find_study
    from search.spec.study_spec import load_spec

    overrides = given_overrides(arguments)
    if arguments.name:
        overrides.append(f'name="{arguments.name}"')
    path = find_study(arguments.study)
    spec, text = load_spec(path, overrides)
    console = _console(steady=True)
    runs_dir, store = arguments.runs_dir, ""
    if isinstance(runs_dir, str):
        runs_dir, store = arguments.local_dir, child(runs_dir, spec.name)
    options = replace(_options(arguments, runs_dir, console, {}), store=store)
    if spec.own_code():
        options = replace(options, task_dir=path.parent.resolve())

    def go() -> bool:
        from search.run.launch import start

        with _progress(spec, console) as progress:
            return start(spec, text, overrides, options, progress)[1]

    return _finish(runs_dir / spec.name, _interruptible(go), console)


def _resume(arguments: argparse.Namespace) -> int:
    from search.run.mirror import fetch_study
    from search.spec.study_spec import recorded_spec

    folder, store = arguments.run, ""
    if isinstance(folder, str):
        store, folder = folder, arguments.local_dir / last_name(folder)
        fetch_study(store, folder)
    study = record.load_study(folder)
    spec = recorded_spec(study, str(folder / record.STUDY))
    console = _console(steady=True)
    options = _options(arguments, folder.parent, console, (study["sessions"] or [{}])[-1])
    options = replace(options, store=store)

    def go() -> bool:
        from search.run.launch import resume

        with _progress(spec, console) as progress:
            return resume(folder, options, progress, arguments.retry_failed)

    return _finish(folder, _interruptible(go), console)


def _interruptible(go: Callable[[], bool]) -> bool:
    """Whether a study is done; False too after a signal that came before or after its jobs."""
    try:
        return go()
    except KeyboardInterrupt:
        return False


def _console(steady: bool = False) -> Console:
    """Standard output: as wide as the terminal, and wide enough for a table where it is none.

    Args:
        steady: nobody who stops reading ends the command.
    """
    file = cast(IO[str], terminal.Steady(sys.stdout)) if steady else sys.stdout
    # a name or path may look like rich's markup, an own task (`module:TASK`) like an emoji
    make = partial(Console, file=file, markup=False, highlight=False, emoji=False)
    console = make()
    return console if console.is_terminal else make(width=160)


def _options(
    arguments: argparse.Namespace, runs_dir: Path, console: Console, before: Mapping[str, str]
) -> Options:
    """Where and how to run; `before` is the session that a resumed study goes on from."""
    from search.run.preflight import Options

    for name in ("RESNET_TUNE_DATA", "RESNET_TUNE_WEIGHTS", "RESNET_TUNE_CACHE"):
        refuse_uri(name, os.environ.get(name))
    data_dir = os.environ.get("RESNET_TUNE_DATA", "data")
    weights_dir = os.environ.get("RESNET_TUNE_WEIGHTS", "weights")
    return Options(
        (arguments.data_dir or Path(before.get("data_dir", data_dir))).resolve(),
        (arguments.weights_dir or Path(before.get("weights_dir", weights_dir))).resolve(),
        runs_dir,
        arguments.address or before.get("address", "local"),
        lambda text: console.print(text, style="dim", soft_wrap=True),
        download=not arguments.offline and not before,
        make_data_dir=arguments.data_dir is None,
    )


def _progress(spec: StudySpec, console: Console) -> Progress:
    from search.cli.progress import Progress
    from search.spec.cells import make_plan
    from trainables import find_task
    from trainables.engine.train import watched_metric

    metric = watched_metric(find_task(spec.task), spec.config(spec.cell_values()[0], {}))
    return Progress(spec, make_plan(spec), console, metric)


def _finish(folder: Path, done: bool, console: Console) -> int:
    shown = os.path.relpath(folder)
    resume = terminal.shell("resnet-search", "resume", shown)
    if not done:
        text = "interrupted before it began; nothing is on record"
        if (folder / record.STUDY).exists():
            text = f"interrupted; everything finished is on record. Go on: {resume}"
        console.print(text, soft_wrap=True)
        return terminal.INTERRUPTED
    held = record.load(folder)
    ended = "ended, not whole" if missing(held).cells else "done"
    report = terminal.shell("resnet-report", "build", shown)
    console.print(f"{ended}: {shown}. Report: {report}", soft_wrap=True)
    status = _status_of(held, console)
    if status:
        lost = missing(held).lost
        lines = [f"  {row.trial} {row.status}: {row.reason}" for row in lost.itertuples()]
        text = "not every cell has what it was promised"
        if set(lost["status"]) - {"diverged"}:
            text += f". Mend the cause, then `{resume} --retry-failed` runs what has failed again"
        for line in [text, *lines]:
            console.print(line, soft_wrap=True)
    return status


def _status(arguments: argparse.Namespace) -> int:
    if not isinstance(arguments.run, str):
        return _status_of(record.load(arguments.run), _console())
    from search.run.fetch import looked_at

    with looked_at(arguments.run) as folder:
        return _status_of(record.load(folder), _console())


def _fetch(arguments: argparse.Namespace) -> int:
    from search.run.fetch import fetch

    folder = arguments.to or Path("runs") / last_name(str(arguments.run))
    fetch(str(arguments.run), folder, arguments.checkpoints)
    print(f"{arguments.run} is in {folder}")
    return 0


def _status_of(held: Record, console: Console) -> int:
    """One line a cell; 0 if every cell has what it was promised, else 1.

    That is: full_per_cell trials of the search in full, and a test score for each seed, or for
    the winner where there are no seeds.
    """
    from search.cli.status import status_table

    console.print(status_table(held))
    return int(bool(missing(held).cells))


def _doctor(arguments: argparse.Namespace) -> int:
    console = _console()
    return doctor(arguments, _options(arguments, arguments.runs_dir, console, {}), console)


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
    _console().print(table)
    return 0
