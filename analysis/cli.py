"""`resnet-report`: what the record of a study says, as a page or as one table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.display import tables
from analysis.display.contrasts_table import contrasts_table
from analysis.display.explained import explained
from analysis.display.first_rung_table import told
from analysis.display.next_study import next_study
from analysis.display.page import build
from analysis.display.render import FILES, FORMATS, Table, render, write
from analysis.display.several_tables import diff_table, join_table
from analysis.findings.contrasts import declared, parsed
from analysis.findings.curve_csv import read_curves, write_studies
from analysis.findings.explain import cell_number
from analysis.findings.named_once import require_once
from analysis.findings.published import CURVE_COLUMNS, load_published
from analysis.findings.published_cells import COLUMNS, read_cells
from analysis.findings.published_faults import of_these_curves, published_faults
from analysis.findings.verify import verdict_lines
from search.record import UserError, arguments, load, terminal, verify, whole_new
from search.record.foreign.importing import NAMES_STUDIES, READERS, import_runs


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; None takes those of the process.

    Returns:
        Exit code: 0, 1 where a record that is verified does not hold, or with one line on stderr
        2 where the input is at fault and 1 where the system refuses something, such as a full
        disk.
    """

    def command() -> int:
        parser, names = _parser()
        args = arguments.parsed(parser, names, sys.argv[1:] if argv is None else argv)
        if args.command == "verify":
            return _verify(args.run)
        if args.command == "watch":
            return _watch(args)
        if args.command == "explain":
            print(_explain(args))
            return 0
        if args.command == "contrast":
            print(_contrast(args))
            return 0
        if args.command == "next":
            print(_next(args))
            return 0
        if args.command in ("diff", "join"):
            print(_several(args))
            return 0
        if args.command == "import-curves":
            print(_import_curves(args))
            return 0
        if args.command == "import":
            print(_import(args))
            return 0
        print(_build(args) if args.command == "build" else _table(args))
        return 0

    return terminal.run("resnet-report", command, {UserError: 2})


def _parser() -> tuple[argparse.ArgumentParser, list[str]]:
    """The parser, and the names of its commands."""
    parser = argparse.ArgumentParser(prog="resnet-report", description=__doc__)
    commands = parser.add_subparsers(
        dest="command",
        required=True,
        metavar="build|table|explain|contrast|diff|join|next|watch|verify|import|import-curves",
    )
    page = commands.add_parser("build", help="write an HTML page with tables and figures")
    page.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folder of a study")
    page.add_argument("--out", type=Path, help="folder to write to (of one run: RUN/report)")
    page.add_argument(
        "--published-curves",
        type=Path,
        metavar="FILE",
        help="csv of the course report's learning curves, drawn thin and grey under ours",
    )
    one = commands.add_parser("table", help="print one table")
    _add_run(one)
    one.add_argument(
        "--table",
        default="cells",
        help="T1 to T4, cells (default), contrasts, settled, search, configs, importance, "
        "marginals, audit, firstrung, reveals or optimism",
    )
    _add_form(one)
    why = commands.add_parser(
        "explain", help="say why a cell is where it is, and what would most likely move it"
    )
    _add_run(why)
    why.add_argument(
        "cell",
        nargs="*",
        metavar="CELL",
        help="number of a cell, or settings such as depth=18,pretrained=false (default: all)",
    )
    _add_several(commands)
    compared = commands.add_parser(
        "contrast", help="compare each value of a cell parameter with one, all decided together"
    )
    _add_run(compared)
    compared.add_argument(
        "contrasts",
        nargs="*",
        metavar="KEY=VALUE",
        help="e.g. depth=18: every other depth against 18 (default: those of the study file)",
    )
    _add_form(compared)
    after = commands.add_parser(
        "next", help="say which first rung the next study should have, and write that study"
    )
    _add_run(after)
    after.add_argument(
        "--write", type=Path, metavar="TOML", help="write the study file with it, a new file"
    )
    live = commands.add_parser(
        "watch",
        help="serve a page on this machine that follows runs while they go; see docs/watch.md",
    )
    live.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folder of a study")
    live.add_argument(
        "--port", type=int, default=0, metavar="N", help="of 127.0.0.1 (default: a free one)"
    )
    check = commands.add_parser(
        "verify", help="check a record in full: exit status 0 only if all of it holds"
    )
    _add_run(check)
    _add_import_of_runs(commands)
    _add_import(commands)
    return parser, list(commands.choices)


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder of a study")


def _add_import_of_runs(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    taken = commands.add_parser(
        "import",
        help="make a record of runs that another tool has, and print what was guessed",
        description="Make a record of runs that another tool has; see docs/import.md.",
    )
    taken.add_argument("kind", choices=list(READERS), metavar="|".join(READERS))
    taken.add_argument(
        "source",
        metavar="SOURCE",
        help="ray: folder of an experiment; optuna: sqlite or journal file, or a URL; wandb-csv, "
        "csv: a csv file; mlflow: the folder mlruns or a sqlite file",
    )
    taken.add_argument(
        "--out", type=Path, required=True, metavar="RUN", help="run folder that is made"
    )
    taken.add_argument(
        "--map",
        type=Path,
        metavar="FILE.toml",
        help="what the columns are; without it they are guessed, and each guess is printed",
    )
    taken.add_argument(
        "--study",
        default="",
        metavar="NAME",
        help=f"({', '.join(NAMES_STUDIES)}) study or experiment, where SOURCE has several",
    )


def _add_form(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=FORMATS, help="printed; default: md")
    parser.add_argument(
        "--columns",
        metavar="A,B",
        help="of what is displayed, these alone: names, or how they begin (data stay whole)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help=f"write it, in the form of the suffix: {', '.join(FILES)}",
    )


def _shown(table: Table, args: argparse.Namespace) -> str:
    """A table as text, or, where it was written to a file, the file."""
    if args.out and args.format:
        raise UserError("--format is of what is printed; of --out the suffix says the form")
    if args.columns is not None:
        table = table.only([name.strip() for name in args.columns.split(",")])
    if not args.out:
        return render(table, args.format or "md").rstrip("\n")
    write(table, args.out)
    return str(args.out)


def _add_several(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    moved = commands.add_parser(
        "diff", help="say which cells moved from one run to another, and what the two differ in"
    )
    moved.add_argument("runs", nargs=2, type=Path, metavar="RUN", help="run folder of a study")
    beside = commands.add_parser(
        "join", help="put the cells of several studies in one table, ranked where they can be"
    )
    beside.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folder of a study")
    for parser in (moved, beside):
        _add_form(parser)


def _add_import(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    taken = commands.add_parser(
        "import-curves",
        help="make records of learning curves from elsewhere, and print what is wrong with them",
    )
    taken.add_argument(
        "curves", type=Path, metavar="CSV", help=f"with the columns {','.join(CURVE_COLUMNS)}"
    )
    taken.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder in which a run folder is made for each study that the curves make",
    )
    taken.add_argument(
        "--published",
        type=Path,
        metavar="CSV",
        help="published cells to hold the curves against (default: those of the course report); "
        f"columns {','.join(COLUMNS)}, and split (test or val) if its head says another than test",
    )


def _build(args: argparse.Namespace) -> str:
    if args.out is None and len(args.runs) > 1:
        raise UserError("several runs need --out DIR, the folder to write to")
    published = load_published(args.published_curves) if args.published_curves else None
    return str(build(args.runs, args.out or args.runs[0] / "report", published))


def _import_curves(args: argparse.Namespace) -> str:
    curves = read_curves(args.curves)
    cells = read_cells(args.published)
    if args.published is None:  # the course report's: nobody else's curves are held against them
        cells = of_these_curves(curves, cells)
    faults = published_faults(curves, cells)
    folders = write_studies(args.curves, curves, faults, args.out)
    return "\n".join([*(f"fault: {fault.text}" for fault in faults), *map(str, folders)])


def _import(args: argparse.Namespace) -> str:
    done = import_runs(args.kind, args.source, args.out, args.map, args.study)
    return "\n".join([*done.said, str(done.run)])


def _explain(args: argparse.Namespace) -> str:
    record = load(args.run)
    cells = range(len(record.study["cells"]))
    wanted = [cell_number(record, ",".join(args.cell))] if args.cell else cells
    return "\n\n".join(explained(record, cell) for cell in wanted)


def _contrast(args: argparse.Namespace) -> str:
    record = load(args.run)
    asked = parsed(args.contrasts, record.study["cells"]) if args.contrasts else None
    if asked is None and not declared(record):
        raise UserError(
            f"study {record.study['name']} declares no contrast; name one, e.g. depth=18"
        )
    return _shown(contrasts_table(record, asked), args)


def _several(args: argparse.Namespace) -> str:
    if args.command == "diff":  # `join` itself refuses copies too
        require_once(args.runs)
    records = [load(run) for run in args.runs]
    table = diff_table(*records) if args.command == "diff" else join_table(records)
    return _shown(table, args)


def _next(args: argparse.Namespace) -> str:
    record = load(args.run)
    known = "firstrung" in tables.keys(record)
    shown = render(tables.make(record, "firstrung"), "md").rstrip("\n") if known else told(record)
    if not args.write:
        return shown
    text, apart = next_study(record)
    try:
        with whole_new(args.write) as partial:
            partial.write_text(text, encoding="utf-8")
    except FileExistsError as error:
        raise UserError(f"{args.write} is there already; name a new file by --write") from error
    with_it = f"; run it as that study was begun: {apart}" if apart else ""
    return f"{shown}\n\n{args.write}{with_it}"


def _watch(args: argparse.Namespace) -> int:
    from analysis.display.live_server import watch

    watch(args.runs, args.port, lambda text: print(f"resnet-report: {text}", flush=True))
    return 0


def _verify(run: Path) -> int:
    found = verify(run)
    print("\n".join(verdict_lines(found)))
    return 0 if found.holds else 1


def _table(args: argparse.Namespace) -> str:
    return _shown(tables.named(load(args.run), args.table), args)
