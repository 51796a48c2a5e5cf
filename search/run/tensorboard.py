"""What happens in a study as TensorBoard shows it: scalars by epoch, and the configs as HParams.

Written by the driver while the study runs, and gone on with by `resume`. A row that comes again
after an interruption is written again; TensorBoard shows both.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from search.record import Record
from search.run.copies import Scalars, Stay
from trainables.files import own_name

FOLDER = "tensorboard"
FLUSH = 10  # seconds
_STAYS = itertools.count()


class TensorBoard:
    """Writes event files; see Log.

    Args:
        run: the run folder; files go to `tensorboard/<cell>/<trial>` in it.
        metric: of study.json, as rows name it, e.g. val_accuracy.
        cells: labels of the study's cells.
    """

    name, later = "TensorBoard", ""

    def __init__(self, run: Path, metric: str, cells: Sequence[str]) -> None:
        self._folder, self._metric = run / FOLDER, metric
        self._cells = [label.replace("/", "-") for label in cells]
        self._open: dict[str, Any] = {}

    def catch_up(self, held: Record) -> None:
        """See Log: its files are written as a study goes, by the driver itself."""

    def begin(self, stay: Stay) -> None:
        """See Log."""
        from tensorboardX import SummaryWriter  # type: ignore[import-untyped]  # loaded where it is asked for
        from tensorboardX.summary import hparams  # type: ignore[import-untyped]

        folder = self._folder / self._cells[stay.cell] / stay.trial
        if stay.trial in self._open:  # of a job that was lost
            self._open.pop(stay.trial).close()
        known = folder.is_dir()
        # two stays of a trial may begin within a second, which is all that a file's name tells
        own = f".{own_name()}-{next(_STAYS)}"
        writer = SummaryWriter(str(folder), flush_secs=FLUSH, filename_suffix=own)
        self._open[stay.trial] = writer
        if not known:
            given = {"stage": stay.stage, **{k: _plain(v) for k, v in stay.config.items()}}
            for summary in hparams(given, {self._metric: 0.0}):
                writer.file_writer.add_summary(summary)

    def add(self, trial: str, epoch: int, scalars: Scalars) -> None:
        """See Log."""
        if (writer := self._open.get(trial)) is not None:
            for name, value in scalars.items():
                writer.add_scalar(name, value, epoch)

    def end(self, trial: str, epoch: int, last: int, scores: Scalars, failed: bool) -> None:
        """See Log."""
        if (writer := self._open.pop(trial, None)) is not None:
            for name, value in scores.items():
                writer.add_scalar(name, value, epoch)
            writer.close()

    def close(self) -> None:
        """See Log."""
        for trial in list(self._open):
            self._open.pop(trial).close()


def _plain(value: Any) -> bool | str | float | int:
    return value if isinstance(value, bool | str | float | int) else str(value)
