"""`resnet-search doctor`: what a study needs, a line each, before it is begun."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from search.spec.overrides import add_overrides, given_overrides
from trainables.errors import UserError

if TYPE_CHECKING:
    from search.run.machine_checks import Check
    from search.run.preflight import Options
    from search.spec.study_spec import StudySpec

STATUS = {"ok": 0, "warning": 1, "fault": 2}
STYLE = {"ok": "green", "warning": "yellow", "fault": "bold red"}
HELP = (
    "look at everything a study needs, without training; exit status 0: all is well, 1: there "
    "are warnings, 2: there are faults, which `run` would refuse"
)


def add_doctor(commands: Any) -> argparse.ArgumentParser:
    """Add the command's parser; options of places are added by the caller, who shares them."""
    parser: argparse.ArgumentParser = commands.add_parser("doctor", help=HELP, description=HELP)
    parser.add_argument(
        "study",
        metavar="STUDY",
        nargs="?",
        help="a TOML file, or a shipped study; left out, what is there is looked at",
    )
    add_overrides(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def doctor(arguments: argparse.Namespace, options: Options, console: Console) -> int:
    """Print a line a check; the exit status is the worst of them."""
    found = []
    for check in _checks(arguments, options):
        found.append(check)
        if not arguments.json:
            _show(check, console)
    if arguments.json:
        print(json.dumps([asdict(check) for check in found], indent=1))
    else:
        counts = {state: sum(c.state == state for c in found) for state in STATUS}
        told = [f"{counts[s]} {s}{'s' * (counts[s] != 1)}" for s in ("fault", "warning")]
        console.print(", ".join([*told, f"{counts['ok']} ok"]), highlight=False)
    return max(STATUS[check.state] for check in found)


def _checks(arguments: argparse.Namespace, options: Options) -> Iterator[Check]:
    from search.run.doctor import examine
    from search.run.machine_checks import Check

    spec = None
    if arguments.study:
        try:
            spec, options = _load(arguments, options)
        except UserError as error:
            yield Check("study", "fault", str(error))
        else:
            yield Check("study", "ok", f"{spec.name}: {len(spec.cell_values())} cells")
    yield from examine(spec, options)


def _load(arguments: argparse.Namespace, options: Options) -> tuple[StudySpec, Options]:
    from search.spec.shipped import find_study
    from search.spec.study_spec import load_spec

    path = find_study(arguments.study)
    spec = load_spec(path, given_overrides(arguments))[0]
    return spec, replace(options, task_dir=path.parent.resolve() if spec.own_code() else None)


def _show(check: Check, console: Console) -> None:
    first, *more = [line for text in (check.text, check.fix) for line in text.splitlines()]
    line = Text.assemble((f"{check.state:8}", STYLE[check.state]), f"{check.name:17}", first)
    console.print(line, soft_wrap=True, highlight=False)
    for text in more:
        console.print(f"{'':25}{text.strip()}", soft_wrap=True, highlight=False, markup=False)
