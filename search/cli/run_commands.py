"""`resnet-search run`, `resume`, `status`, `fetch`: a study begun, gone on with, looked at."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from rich.console import Console

from search import record
from search.record import Record, missing, short_choices, terminal
from search.record.status import DONE, SHORT
from search.record.uris import child, last_name, parse_place, refuse_uri
from search.spec.overrides import add_overrides, given_overrides

if TYPE_CHECKING:  # each takes seconds to import, and `status` needs none of them
    from search.cli.progress import Progress
    from search.run.options import Options
    from search.spec.study_spec import StudySpec

STATUSES = (
    "Exit status: 0 every cell has what it was promised; 1 something is missing yet (it begins, "
    "runs, was interrupted or killed, or has lost or failed trials), or the system refused a file "
    "or a store; 2 RUN is no run folder or is damaged, or the command line is wrong; 130 "
    "interrupted."
)


def add_run_commands(commands: Any) -> None:
    """Add the parsers of these commands."""
    started = commands.add_parser("run", help="run a study file, or a shipped study by name")
    started.add_argument("study", metavar="STUDY", help="a TOML file, or a name from `studies`")
    add_overrides(started)
    add_name(started)
    started.add_argument(
        "--runs-dir",
        type=parse_place,
        default=Path("runs"),
        help="a folder that all nodes see, or a URI such as s3://bucket/runs; default: ./runs",
    )
    started.set_defaults(command=run)
    resumed = commands.add_parser(
        "resume", help="go on with a study that was interrupted or killed"
    )
    resumed.add_argument("run", type=parse_place, metavar="RUN", help="its run folder, or URI")
    resumed.add_argument(
        "--retry-failed",
        action="store_true",
        help="run failed trials again; of the search only where a cell has no winner yet",
    )
    resumed.add_argument(
        "--accept-changes",
        action="store_true",
        help="go on though settings, code or versions are not as on record; tables made of mixed "
        "parts are marked",
    )
    resumed.set_defaults(command=resume)
    for command in (started, resumed):
        add_places(command)
        command.add_argument(
            "--local-dir",
            type=Path,
            default=Path("runs"),
            help="of a study at a URI: folder of this driver's own copy of it; default: ./runs",
        )
        command.add_argument(
            "--strict",
            action="store_true",
            help="refuse a cluster of which one node lacks something, instead of leaving it out",
        )
        command.add_argument(
            "--ship-code",
            action="store_true",
            help="give the nodes of a cluster this package's code; they need Ray, torch and "
            "torchvision",
        )
    status = commands.add_parser(
        "status",
        help="how far a study is, also while it runs; exit status 1 while something is missing",
        description="How far a study is, from its record alone, also while it runs.",
        epilog=STATUSES,
    )
    status.add_argument("run", type=parse_place, metavar="RUN", help="its run folder, or URI")
    status.set_defaults(command=_status)
    fetched = commands.add_parser("fetch", help="bring a run from a URI to a folder")
    fetched.add_argument("run", type=parse_place, metavar="URI", help="e.g. s3://bucket/runs/mine")
    fetched.add_argument("--to", type=Path, help="the run folder; default: runs/NAME")
    fetched.add_argument("--checkpoints", action="store_true", help="its checkpoints too")
    fetched.set_defaults(command=_fetch)


def add_name(command: argparse.ArgumentParser) -> None:
    """Give a command the option that names the run folder; see `study_overrides`."""
    command.add_argument("--name", help="name of the run folder, instead of the study's own")


def study_overrides(arguments: argparse.Namespace) -> list[str]:
    """KEY=VALUE for every option that changes a study, its name last."""
    named = [f"name={json.dumps(arguments.name, ensure_ascii=False)}"] if arguments.name else []
    return [*given_overrides(arguments), *named]


def add_places(command: argparse.ArgumentParser) -> None:
    """Give a command the options that say where data, weights and Ray are."""
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


def run(arguments: argparse.Namespace) -> int:
    """Run a new study."""
    from search.spec.shipped import find_study
    from search.spec.study_spec import load_spec

    overrides = study_overrides(arguments)
    path = find_study(arguments.study)
    spec, text = load_spec(path, overrides)
    console = make_console(steady=True)
    runs_dir, store = arguments.runs_dir, ""
    if isinstance(runs_dir, str):
        runs_dir, store = arguments.local_dir, child(runs_dir, spec.name)
    options = replace(make_options(arguments, runs_dir, console, {}), store=store)
    if spec.own_code():
        options = replace(options, task_dir=path.parent.resolve())

    def go() -> bool:
        from search.run.launch import start

        with _progress(spec, console) as progress:
            return start(spec, text, overrides, options, progress)[1]

    return _finish(runs_dir / spec.name, _interruptible(go), console)


def resume(arguments: argparse.Namespace) -> int:
    """Go on with one."""
    from search.run.store_log import fetch_study
    from search.spec.study_spec import recorded_spec

    folder, store = arguments.run, ""
    if isinstance(folder, str):
        store, folder = folder, arguments.local_dir / last_name(folder)
        fetch_study(store, folder)
    study = record.load_study(folder)
    spec = recorded_spec(study, str(folder / record.STUDY))
    console = make_console(steady=True)
    options = make_options(arguments, folder.parent, console, (study["sessions"] or [{}])[-1])
    options = replace(options, store=store)

    def go() -> bool:
        from search.run.launch import resume

        with _progress(spec, console) as progress:
            chosen = (arguments.retry_failed, arguments.accept_changes)
            return resume(folder, options, progress, *chosen)

    return _finish(folder, _interruptible(go), console)


def _interruptible(go: Callable[[], bool]) -> bool:
    """Whether a study is done; False too after a signal that came before or after its jobs."""
    try:
        return go()
    except KeyboardInterrupt:
        return False


def make_console(steady: bool = False) -> Console:
    """Standard output: as wide as the terminal, and wide enough for a table where it is none.

    Args:
        steady: nobody who stops reading ends the command.
    """
    file = cast(IO[str], terminal.Steady(sys.stdout)) if steady else sys.stdout
    # a name or path may look like rich's markup, an own task (`module:TASK`) like an emoji
    make = partial(Console, file=file, markup=False, highlight=False, emoji=False)
    console = make()
    return console if console.is_terminal else make(width=160)


def make_options(
    arguments: argparse.Namespace, runs_dir: Path, console: Console, before: Mapping[str, str]
) -> Options:
    """Where and how to run; `before` is the session that a resumed study goes on from."""
    from search.run.options import Options

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
        strict=getattr(arguments, "strict", False),
        ship_code=getattr(arguments, "ship_code", False),
        address_before=not arguments.address and "address" in before,
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
    ended = SHORT if missing(held).cells else DONE
    report = terminal.shell("resnet-report", "build", shown)
    console.print(f"{ended}: {shown}. Report: {report}", soft_wrap=True)
    status = _status_of(held, console, shown)
    if status:
        lost = missing(held).lost
        told = {name for choice in short_choices(held).values() for name in choice.names}
        rows = lost[~lost["trial"].isin(told)].itertuples()
        lines = [f"  {row.trial} {row.status}: {row.reason}" for row in rows]
        text = "not every cell has what it was promised"
        if set(lost["status"]) - {"diverged"}:
            text += f". Mend the cause, then `{resume} --retry-failed` runs what has failed again"
        for line in [text, *lines]:
            console.print(line, soft_wrap=True)
    return status


def _status(arguments: argparse.Namespace) -> int:
    from search.record.status import BEGINS, begins

    where, console = arguments.run, make_console()
    if not isinstance(where, str):
        if begins(where):
            console.print(f"{where}: {BEGINS}", soft_wrap=True)
            return 1
        return _status_of(record.load(where), console, os.fspath(where))
    from search.run.fetch import looked_at

    with looked_at(where) as folder:
        return _status_of(record.load(folder), console, where)


def _fetch(arguments: argparse.Namespace) -> int:
    """Bring a run from a URI to a folder."""
    from search.run.fetch import fetch

    folder = arguments.to or Path("runs") / last_name(str(arguments.run))
    fetch(str(arguments.run), folder, arguments.checkpoints)
    print(f"{arguments.run} is in {folder}")
    return 0


def _status_of(held: Record, console: Console, where: str) -> int:
    """One line a cell; 0 if every cell has what it was promised, else 1.

    That is: full_per_cell trials of the search in full, and a test score for each seed, or for
    the winner where there are no seeds.
    """
    from search.cli.status import status_table
    from search.record.outlook import outlook_line
    from search.record.status import lost_lines, next_line

    console.print(status_table(held))
    lines = (outlook_line(held), *lost_lines(held, where), next_line(held, where))
    for line in filter(None, lines):
        console.print(line, soft_wrap=True)
    return int(bool(missing(held).cells))
