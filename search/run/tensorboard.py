"""What happens in a study as TensorBoard shows it: scalars by epoch, and the configs as HParams.

A copy for looking on, beside the record: written by the driver while the study runs, and gone on
with by `resume`. A row that comes again after an interruption is written again; TensorBoard shows
both. Nothing reads it back.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from search import record
from search.record.journal import Event
from search.record.naming import cell_label
from search.run.watcher import Watcher
from search.spec.plan import Job
from search.spec.study_spec import StudySpec
from trainables import find_task
from trainables.engine.train import watched_metric
from trainables.files import own_name

FOLDER = "tensorboard"
FLUSH = 10  # seconds
_STAYS = itertools.count()


def watched(spec: StudySpec, run: Path, watcher: Watcher) -> Watcher:
    """The watcher, behind one for each place that the study file's [log] names."""
    if "tensorboard" not in spec.log.to:
        return watcher
    config = spec.config(spec.cell_values()[0], {})
    metric = watched_metric(find_task(spec.task), config)
    return TensorBoard(run, metric, spec.cell_values(), watcher)


class TensorBoard:
    """A watcher that writes event files, and passes on to another all that it is told.

    Args:
        run: the run folder; files go to `tensorboard/<cell>/<trial>` in it.
        metric: of study.json, as rows name it, e.g. val_accuracy.
        cells: of study.json.
        watcher: passed on to.
    """

    def __init__(
        self, run: Path, metric: str, cells: Sequence[Mapping[str, Any]], watcher: Watcher
    ) -> None:
        self._folder, self._metric, self._watcher = run / FOLDER, metric, watcher
        self._cells = [cell_label(cell).replace("/", "-") for cell in cells]
        self._open: dict[str, Any] = {}
        self._failed = False

    def restored(self, held: record.Record) -> None:
        """See Watcher."""
        self._watcher.restored(held)

    def asked(self, job: Job, config: Mapping[str, Any], decisions: list[Event]) -> None:
        """See Watcher."""
        self._watcher.asked(job, config, decisions)
        self._try(self._begin, job, config)

    def reported(self, job: Job, row: Mapping[str, Any]) -> None:
        """See Watcher."""
        self._watcher.reported(job, row)
        self._try(self._add, job, row)

    def told(self, job: Job, told: Mapping[str, Any], decisions: list[Event]) -> None:
        """See Watcher."""
        self._watcher.told(job, told, decisions)
        self._try(self._end, job, told)

    def noted(self, text: str) -> None:
        """See Watcher."""
        self._watcher.noted(text)

    def _try(self, work: Any, *what: Any) -> None:
        """A copy that cannot be written ends no study: it is told once, and left."""
        if self._failed:
            return
        try:
            work(*what)
        except OSError as error:
            self._failed = True
            self._watcher.noted(f"no more is written for TensorBoard ({error})")

    def _begin(self, job: Job, config: Mapping[str, Any]) -> None:
        from tensorboardX import SummaryWriter  # type: ignore[import-untyped]  # loaded where it is asked for
        from tensorboardX.summary import hparams  # type: ignore[import-untyped]

        folder = self._folder / self._cells[job.cell] / job.trial
        if job.trial in self._open:  # of a job that was lost
            self._open.pop(job.trial).close()
        known = folder.is_dir()
        # two stays of a trial may begin within a second, which is all that a file's name tells
        own = f".{own_name()}-{next(_STAYS)}"
        writer = SummaryWriter(str(folder), flush_secs=FLUSH, filename_suffix=own)
        self._open[job.trial] = writer
        if not known:
            given = {"stage": job.stage, **{k: _plain(v) for k, v in config.items()}}
            for summary in hparams(given, {self._metric: 0.0}):
                writer.file_writer.add_summary(summary)

    def _add(self, job: Job, row: Mapping[str, Any]) -> None:
        writer, epoch = self._open.get(job.trial), int(row["epoch"])
        for name, value in row.items():
            if writer is not None and name != "epoch" and isinstance(value, int | float):
                writer.add_scalar(name, value, epoch)

    def _end(self, job: Job, told: Mapping[str, Any]) -> None:
        writer = self._open.pop(job.trial, None)
        if writer is None:
            return
        for name, value in (told.get("test") or {}).items():
            writer.add_scalar(f"test_{name}", value, int(told["value_epoch"]))
        writer.close()


def _plain(value: Any) -> bool | str | float | int:
    return value if isinstance(value, bool | str | float | int) else str(value)
