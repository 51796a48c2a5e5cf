"""Live progress: a table by cell on a terminal, plain lines where the output is piped."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from search.record import Record
from search.record.journal import Event
from search.record.naming import cell_label
from search.spec.plan import Job, Plan, expected_epochs
from search.spec.study_spec import StudySpec
from trainables import find_task

SAID = (
    *("promote", "promote early", "replace", "stop", "collapsed", "audit", "select"),
    *("short", "empty"),
)
ENDINGS = {
    "stop": "stopped",
    "collapsed": "stopped",
    "complete": "full",
    "audited": "audited",
    "diverged": "diverged",
    "failed": "failed",
}


class Progress:
    """Watches a study and shows it; a context manager.

    Args:
        spec: the study.
        plan: its scheduler's budget.
        console: where to show; live if it is a terminal.
        metric: name of the watched metric, e.g. val_accuracy.
    """

    def __init__(self, spec: StudySpec, plan: Plan, console: Console, metric: str) -> None:
        self._cells, self._plan = spec.cell_values(), plan
        self._metric, self._console = metric, console
        self._shown = find_task(spec.task).metrics  # of all that is scored on test
        self._trials: dict[str, str] = {}  # trial -> state
        self._of_cell: dict[str, int] = {}
        self._best: dict[int, float] = {}
        self._running: dict[str, tuple[Job, Mapping[str, Any], Mapping[str, Any]]] = {}
        self._epochs: set[tuple[str, float]] = set()  # a row may come twice
        self._asked: set[tuple[str, float]] = set()  # what jobs were to train
        self._started = time.monotonic()
        self._expected = sum(expected_epochs(plan, number) for number in range(len(self._cells)))
        self._live = Live(console=console, refresh_per_second=2, get_renderable=self._render)

    def __enter__(self) -> Progress:
        """Start to show."""
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Leave the last picture standing."""
        if self._console.is_terminal:
            self._live.stop()

    def restored(self, held: Record) -> None:
        """Take over what an earlier run of the study did."""
        shown = {"completed": "full", "paused": "waiting", "running": "waiting"}
        for row in held.trials.to_dict("records"):
            self._trials[row["trial"]] = shown.get(row["status"], row["status"])
            self._of_cell[row["trial"]] = row["cell"]
            if row["status"] == "completed" and row["stage"] != "audit":
                self._note_best(row["cell"], row["value"])
        pairs = held.curves[["trial", "epoch"]].drop_duplicates()
        self._epochs |= set(pairs.itertuples(index=False, name=None))

    def asked(self, job: Job, config: Mapping[str, Any], decisions: list[Event]) -> None:
        """A job starts, perhaps by an early promotion."""
        for decision in decisions:
            self._decided(decision)
        self._running[job.trial] = (job, config, {})
        self._trials[job.trial], self._of_cell[job.trial] = "running", job.cell
        self._asked |= {(job.trial, at) for at in range(job.from_epoch + 1, job.to_epoch + 1)}
        self._line(job, f"epoch {job.from_epoch} to {job.to_epoch}: {cell_label(config)}")

    def reported(self, job: Job, row: Mapping[str, Any]) -> None:
        """An epoch is over."""
        self._epochs.add((job.trial, row["epoch"]))
        if job.trial in self._running:
            self._running[job.trial] = (*self._running[job.trial][:2], row)

    def told(self, job: Job, told: Mapping[str, Any], decisions: list[Event]) -> None:
        """A job is over."""
        self._running.pop(job.trial, None)
        self._trials[job.trial] = "waiting"
        value = told.get("value")
        if told["ending"] == "value" and value is not None:
            if job.to_epoch == self._plan.rungs[-1] and job.stage != "audit":
                self._note_best(job.cell, value)
            test = told.get("test") or {}
            tested = "".join(f", test {k} {test[k]:.4g}" for k in self._shown if k in test)
            tested += ", COLLAPSED" * bool(told.get("collapsed"))
            # of its epochs the rule may have taken an earlier one
            of = told["value_epoch"]
            chosen = f" (of epoch {of})" if of != told["epoch"] else ""
            text = f"epoch {told['epoch']} done: {self._metric} {value:.4g}{chosen}{tested}"
            self._line(job, f"{text}, {told['seconds']:.0f} s")
        elif told["ending"] == "stopped":
            self._line(job, f"ended by Ray's ASHA at epoch {told['epoch']}")
        elif told["ending"] == "diverged":
            self._line(job, f"diverged in epoch {told['epoch']}")
        else:
            error = (told.get("error") or "").strip() or "no reason given"
            self._write(self._headed(job, f"failed: {error.splitlines()[-1].strip()}"))
        for decision in decisions:
            self._decided(decision)

    def noted(self, text: str) -> None:
        """Something happened that is neither."""
        self._write(text)

    def _write(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)

    def _note_best(self, cell: int, value: float) -> None:
        pick = max if self._plan.mode == "max" else min
        self._best[cell] = pick(self._best.get(cell, value), value)

    def _decided(self, decision: Event) -> None:
        trial, verdict = decision["trial"], decision["verdict"]
        if verdict in ENDINGS:
            self._trials[trial] = ENDINGS[verdict]
        if verdict in SAID:
            place = f" (rank {decision['rank']} of {decision['n']})" if decision["rank"] else ""
            who = trial or f"cell {decision['cell']}"
            self._print(f"  {verdict} {who} at epoch {decision['epoch']}{place}")
        if verdict == "retry":  # on a terminal too: whatever runs again is said with its reason
            self._write(f"  {trial} is run again, since its job failed")

    def _line(self, job: Job, text: str) -> None:
        self._print(self._headed(job, text))

    def _headed(self, job: Job, text: str) -> str:
        return f"{time.strftime('%H:%M:%S')} {self._share()} {job.trial} {text}"

    def _print(self, text: str) -> None:
        if not self._console.is_terminal:
            self._write(text)

    def _share(self) -> str:
        # early promotions, and configs in place of failed ones, take more than expected
        known = len(self._epochs | self._asked)
        return f"[{len(self._epochs)}/{max(self._expected, known)} epochs]"

    def _render(self) -> Group:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in (
            "cell",
            "started",
            "waiting",
            "stopped",
            "lost",
            "full",
            f"best {self._metric}",
        ):
            table.add_column(name, justify="left" if name == "cell" else "right")
        for number, cell in enumerate(self._cells):
            states = [s for t, s in self._trials.items() if self._of_cell[t] == number]
            best = self._best.get(number)
            table.add_row(
                cell_label(cell),
                str(len(states)),
                str(states.count("waiting")),
                str(states.count("stopped")),
                str(states.count("diverged") + states.count("failed")),
                str(states.count("full")),
                "" if best is None else f"{best:.4g}",
            )
        passed = time.monotonic() - self._started
        lines = [Text(f"{self._share()} {passed / 60:.1f} min", style="dim")]
        for trial, (job, config, row) in self._running.items():
            at = f"epoch {row.get('epoch', job.from_epoch)}/{job.to_epoch}"
            value = row.get(self._metric)
            shown = "" if value is None else f" {self._metric} {value:.4g}"
            lines.append(Text(f"  {trial} {cell_label(config)}: {at}{shown}", no_wrap=True))
        return Group(table, *lines)
