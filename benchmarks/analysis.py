"""What loading a study's record takes, beside Ray's result files and one wide csv with histories.

    python benchmarks/analysis.py [--trials 1000] [--epochs 200] [--repeats 3] [--only record]
                                  [--json FILE]

The same numbers thrice: the record, as `load` reads it with its curves; a `result.json` a trial,
read as `ray.tune.Result.metrics_dataframe` reads it, to one frame; and what exports of wandb and
mlflow are, a csv of runs and a csv of histories. Each side is a process of its own, in turn; so
is what checks the record (verify) and makes its page (build, which verifies). Then what a write of
the record takes of the time, with nothing and with a hundredth of it new. `--only record` leaves
the others' files out, which take long to lay out at 10,000 trials.
"""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import pandas as pd
from machine import describe

from search import record


def ours(folder: Path) -> int:
    """The record, with its curves; values read."""
    return len(record.load(folder).curves)


def bare(folder: Path) -> int:
    """The record as `load` gives it: curves are read when they are asked for."""
    return len(record.load(folder).trials)


def verified(folder: Path) -> int:
    """The record held against its logs; scores on test computed again."""
    return record.verify(folder).scores


def built(folder: Path) -> int:
    """Its page, tables and figures; bytes of the page."""
    page = importlib.import_module("analysis.display.page")
    with tempfile.TemporaryDirectory() as out:
        return int(page.build([folder], Path(out)).stat().st_size)


def ray_files(folder: Path) -> int:
    """Ray's result.json of every trial, to one frame, in long form."""
    files = sorted((folder / "ray").glob("*/result.json"))
    wide = pd.concat([pd.read_json(path, lines=True) for path in files], ignore_index=True)
    return len(wide.melt(id_vars=["trial_id", "training_iteration"]))


def wide_csv(folder: Path) -> int:
    """A csv of runs and one of histories, as a tracker exports them, in long form."""
    runs = pd.read_csv(folder / "runs.csv")
    history = pd.read_csv(folder / "history.csv")
    return len(history.melt(id_vars=["run", "epoch"])) + 0 * len(runs)


OWN = {
    "ours": ours,
    "ours, curves not asked for": bare,
    "verify": verified,
    "build, verify included": built,
}
SIDES = {**OWN, "ray": ray_files, "csv": wide_csv}


def lay_out(folder: Path) -> None:
    """The same numbers as Ray and as trackers leave them, beside the record."""
    held = record.load(folder)
    held.trials.to_csv(folder / "runs.csv", index=False)
    wide = held.curves.pivot(index=["trial", "epoch"], columns="name", values="value")
    wide.reset_index().rename(columns={"trial": "run"}).to_csv(folder / "history.csv", index=False)
    for trial, rows in wide.groupby(level=0):
        home = folder / "ray" / str(trial)
        home.mkdir(parents=True)
        held_rows = rows.reset_index().rename(
            columns={"trial": "trial_id", "epoch": "training_iteration"}
        )
        held_rows.to_json(home / "result.json", orient="records", lines=True, double_precision=15)


def measured(side: str, folder: Path) -> dict[str, Any]:
    """One side in a process of its own: seconds, of them of a processor, and peak memory, MiB."""
    command = [sys.executable, __file__, "--side", side, "--folder", str(folder)]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return {"side": side, **json.loads(told)}


def one_side(side: str, folder: Path) -> None:
    """Read once and print what it took, imports aside."""
    sys.path.remove(str(Path(__file__).parent))  # this file is no package `analysis`
    if SIDES[side] is built:
        importlib.import_module("analysis.display.page")
    before = peak_mb()
    began, used = perf_counter(), process_time()
    values = SIDES[side](folder)
    found = {
        "seconds": perf_counter() - began,
        "processor_seconds": process_time() - used,
        "peak_mb": peak_mb(),
        "imports_mb": before,
        "values": values,
    }
    print(json.dumps(found))


def peak_mb() -> float:
    """Most memory that this process ever had, MiB; what getrusage says is its parent's too."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


def writing(folder: Path) -> list[dict[str, Any]]:
    """Seconds of a write of all but the last hundredth, and of one with that hundredth new."""
    logs = [folder / name for name in (record.EPOCHS, record.JOURNAL)]
    whole = [path.read_bytes().splitlines(keepends=True) for path in logs]
    then = json.loads(whole[0][len(whole[0]) * 99 // 100])["time"]
    before = [[line for line in lines if json.loads(line)["time"] <= then] for lines in whole]
    for path in (folder / "frames.json", *folder.glob("*.parquet")):
        path.unlink()
    rows = []
    for what, held in (("99 % from nothing", before), ("1 % more", whole)):
        for path, lines in zip(logs, held, strict=True):
            path.write_bytes(b"".join(lines))
        began, used = perf_counter(), process_time()
        record.write(folder)
        took = {"seconds": perf_counter() - began, "processor_seconds": process_time() - used}
        rows.append({"write": what, **took})
        if not (folder / "frames.json").is_file():
            raise RuntimeError("the record that was cut is not one that a study leaves")
    return rows


def commit() -> str:
    """Of this code, with "+" where it had changed since."""
    asked = ["git", "describe", "--always", "--abbrev=7", "--exclude=*", "--dirty=+"]
    done = subprocess.run(asked, cwd=Path(__file__).parent, capture_output=True, text=True)
    return done.stdout.strip()


def main() -> None:
    """Lay out, read by turns, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=("record",), help="leave the others' files out")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    held = parser.parse_args()
    if held.side:
        one_side(held.side, held.folder)
        return
    from big_record import make  # not at the top: the sides are to load no torch

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "big"
        make(folder, held.trials, held.epochs)
        record.write(folder)
        sides = OWN if held.only else SIDES
        if not held.only:
            lay_out(folder)
        rows = [measured(side, folder) for _ in range(held.repeats) for side in sides]
        shutil.rmtree(folder / "ray", ignore_errors=True)
        shutil.rmtree(folder / "parts")  # or those of seeds that the cut journal never asked for
        writes = writing(folder)
    frame = pd.DataFrame(rows).groupby("side", sort=False).median()
    frame["ratio"] = frame["processor_seconds"] / frame.loc["ours", "processor_seconds"]
    print(f"{describe()}; {held.trials} trials x {held.epochs} epochs; medians")
    print(frame.to_string(float_format="{:.3f}".format))
    print(pd.DataFrame(writes).to_string(index=False, float_format="{:.2f}".format))
    if held.json:
        told = {"trials": held.trials, "epochs": held.epochs, "rows": rows, "writes": writes}
        made = {"machine": describe(), "commit": commit(), **told}
        held.json.write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
