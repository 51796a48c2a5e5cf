"""A study while it runs: its search, its folder and its watcher together; resume is replay."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search import record
from search.record import optuna_view
from search.record.journal import Event
from search.record.run_folder import RunFolder
from search.record.set_aside import said_of
from search.run import job_form
from search.run.copies import Copied, copied
from search.run.errors import StoreError
from search.run.job_form import Places
from search.run.losses import limit, limits_of, losses_of, one_more
from search.run.mirror import Mirror
from search.run.objects import checkpoint_name
from search.run.room import Fits
from search.run.store import open_store
from search.run.watcher import Watcher
from search.run.worker import WorkerJob
from search.schedule.cell_state import Decision
from search.schedule.search import Search
from search.spec.plan import Job
from search.spec.study_spec import StudySpec
from trainables import find_task

# seconds between rewrites of the frames, and never more than a fiftieth of the time: whoever loads
# the record gets what is newer out of the logs
WRITE_EVERY = 30.0

# A kill loses no line. After a power cut a job whose tell is missing is asked for again and finds
# its checkpoint, so the logs are forced to disk before a checkpoint goes, else once in so many s.
SYNC_EVERY = 1.0


class Study:
    """A study in its run folder.

    Args:
        spec: what is asked for.
        run: its folder, held by this process; whoever made it closes it.
        places: data, weights, GPUs.
        watcher: sees what happens.
        mirror: hands the folder in to a store, if the study has one.

    Raises:
        JournalError: its journal does not fit the study.
    """

    def __init__(
        self,
        spec: StudySpec,
        run: RunFolder,
        places: Places,
        watcher: Watcher,
        mirror: Mirror | None = None,
    ) -> None:
        self._run_id = run.study.get("run_id", "")
        watcher = copied(spec, run.path, self._run_id, watcher, self.note)
        self.spec, self.places, self._run, self._watcher = spec, places, run, watcher
        self._mirror, self._store = mirror, open_store(places.store or str(run.path))
        self._repeats = set[str]()
        self._cells = spec.cell_values()
        held = places.sizes or places.gpus
        self._search = Search(spec, [held.get(n) or 1.0 for n in range(len(self._cells))])
        events = run.events()
        missing = self._search.replay(events, str(self.folder / record.JOURNAL))
        self._losses, self._newest = losses_of(events), dict[str, int]()
        self._limits = limits_of(events)
        aside = run.set_aside_unasked(events)
        cut = run.open_logs()
        if aside.trials:  # first of all: a kill before that line has it all done again
            run.tell_aside(aside)
            watcher.noted(said_of(aside))
        self._written, self._writing, self._on_disk = time.monotonic(), 0.0, 0.0
        self._write_decisions(missing)
        for number in range(len(self._cells)):
            self._clean(number, [])  # what a kill left
        if events:
            watcher.restored(record.load(self.folder))
        if cut:
            self.note({"event": "cut", "bytes": cut})
            watcher.noted(f"{record.JOURNAL}: its last line was not whole and is dropped")

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self._run.path

    @property
    def done(self) -> bool:
        """Whether every cell has all that it was promised, or what is possible of it."""
        return self._search.done

    @property
    def mode(self) -> str:
        """Which values of the task's metric are better: max or min."""
        return find_task(self.spec.task).mode

    def shapes(self) -> set[tuple[float, float]]:
        """(cpus, gpus) of a trial of every cell, trained by itself."""
        return {self._shape(number) for number in range(len(self._cells))}

    def usable(self) -> Counter[tuple[float, float]]:
        """(cpus, gpus) -> jobs of that shape that could run at once, those that do included."""
        held, single = Counter[tuple[float, float]](), self._search.singles
        for cell, jobs in self._search.usable.items():
            most = self._most(cell)
            whole, rest = divmod(jobs - single[cell], most)
            for members, count in ((most, whole), (rest, int(rest > 0)), (1, single[cell])):
                if count:
                    held[self._shape(cell, members)] += count
        return held

    def _most(self, cell: int) -> int:
        """Trials of a cell that are trained as one, at most."""
        most = self.places.arrays.get(cell, 1)
        return min(most, self._limits.get(cell, most))

    def _shape(self, cell: int, members: int = 1) -> tuple[float, float]:
        return job_form.shape_of(self.spec, self.places, cell, members)

    def ask(self, fits: Fits = lambda *shape: 1) -> WorkerJob | None:
        """The next job, or array of jobs, journalled before it is handed out; None for none.

        Args:
            fits: how many jobs of a shape could begin now, this one included: an array takes no
                more than there is room for, and leaves other free workers theirs.

        Raises:
            ExecutionError: a store takes it no more; see `Mirror.check`.
        """
        first = self._ask()
        if first is None:
            return None
        jobs, cell = [first], self._search.jobs[first.trial].cell
        waiting = 1 + self._search.usable.total() - len(self._search.jobs)
        most = self._most(cell)
        # where not even one fits it waits, and may as well be the largest
        most = next((n for n in range(most, 0, -1) if fits(*self._shape(cell, n))), most)
        most = min(most, math.ceil(waiting / max(1, fits(*self._shape(cell, most)))))
        while len(jobs) < most:
            job = self._ask(beside=first.trial)
            if job is None:
                break
            jobs.append(job)
        return job_form.as_array(self.spec, self.places, cell, jobs)

    def _ask(self, beside: str | None = None) -> WorkerJob | None:
        self._check_mirror()
        asked = self._search.ask(beside)
        if asked is None:
            return None
        job, config = asked.job, asked.config
        cell = self._cells[job.cell]
        self._run.append(job_form.ask_event(self.spec, cell, job, config, asked.again, beside))
        decisions = self._write_decisions(asked.decisions)
        self._watcher.asked(job, {**cell, **config}, decisions)
        self._repeats.discard(job.trial)
        alone = job.trial in self._search.alone
        where = (self._store.where, self._run_id)
        return job_form.worker_job(self.spec, self.places, cell, job, config, alone, *where)

    def epoch(self, trial: str, row: Mapping[str, Any]) -> None:
        """Take the row of an epoch.

        Raises:
            ExecutionError: see `ask`.
        """
        self._run.append_epoch(trial, row)
        self._check_mirror()
        self._newest[trial] = max(row["epoch"], self._newest.get(trial, 0))
        if trial in self._search.jobs:
            self._say_repeated(self._search.jobs[trial], row["epoch"])
            self._watcher.reported(self._search.jobs[trial], row)
        self._refresh()

    def other_checkpoint(self, trial: str, differs: str) -> None:
        """A worker found another trial's checkpoint under this one's name, and took it for none.

        Args:
            trial: whose job it is.
            differs: in what the checkpoint is another's, in words.
        """
        self.note({"event": "other checkpoint", "trial": trial, "differs": differs})
        self._watcher.noted(
            f"  {trial} found the checkpoint of another trial ({differs}), which is not gone on "
            "from: it begins anew"
        )

    def _say_repeated(self, job: Job, epoch: int) -> None:
        """Once a job: its worker, who alone can know, reports epochs that were known already."""
        if epoch > job.from_epoch or job.trial in self._repeats:
            return
        self._repeats.add(job.trial)
        found = f"a checkpoint of epoch {epoch - 1} alone" if epoch > 1 else "no checkpoint"
        self._watcher.noted(
            f"  {job.trial} found {found}: epochs {epoch} to {job.from_epoch} are trained again"
        )

    def tell(self, trial: str, told: Mapping[str, Any]) -> None:
        """Take the end of a job: journal, search, decisions, in that order."""
        job = self._search.jobs[trial]
        self._run.append({"event": "tell", "trial": trial, **told})
        self._limit(job.cell, told.get("members", 0))
        decisions = self._write_decisions(self._search.tell(trial, told))
        if time.monotonic() - self._on_disk > SYNC_EVERY:
            self._to_disk()
        self._clean(job.cell, decisions)
        self._watcher.told(job, told, decisions)
        self._refresh()

    def put_back(self, trial: str) -> None:
        """A job that was stopped, not ended: it is handed out again, before any other."""
        if self._search.put_back(trial):
            self.note({"event": "put back", "trial": trial})

    def lost(
        self,
        trial: str,
        cause: str,
        node: str,
        text: str,
        apart: bool = False,
        members: int = 0,
    ) -> None:
        """A job that its node, process or network has ended: it goes on from its checkpoint.

        One that was lost more than `losses` times, and came no epoch further in between, fails
        like any other: then it may well be its own fault.

        Args:
            trial: whose job it is.
            cause: in a word.
            node: where; "" where that is not known.
            text: what happened.
            apart: whether another member of its array may be why: that counts for none, and each
                goes on by itself.
            members: of that array, where it got no memory: arrays of the cell are half as large
                from then on. 0 for anything else.
        """
        job = self._search.jobs[trial]
        epoch = max(job.from_epoch, self._newest.get(trial, 0))
        event = {"event": "lost", "trial": trial, "cause": cause, "node": node, "error": text}
        more: Event = {"apart": True} if apart else {}
        if members:
            more["members"] = members
        self.note({**event, "epoch": epoch, **more})
        self._limit(job.cell, members)
        if not apart:
            self._charge(trial, epoch, node, text)
            return
        self._search.apart.add(trial)
        self.put_back(trial)
        at = f" on {node}" * bool(node)
        self._watcher.noted(
            f"  {trial} lost{at} in an array ({text}); it goes on from its checkpoint, by itself"
        )

    def _charge(self, trial: str, epoch: int, node: str, text: str) -> None:
        """A loss counts against a trial: one more than `losses` at an epoch, and it fails."""
        self._losses[trial] = one_more(self._losses.get(trial), epoch)
        count, most = self._losses[trial].times, self.spec.losses
        if count > most:
            error = f"lost {most + 1} times; the last time: {text}"
            self.tell(trial, {"ending": "failed", "error": error, "node": node, "lost": True})
            return
        self.put_back(trial)
        at = f" on {node}" * bool(node)
        self._watcher.noted(
            f"  {trial} lost{at} ({text}); it goes on from its checkpoint (loss {count} of {most})"
        )

    def _limit(self, cell: int, members: int) -> None:
        """Arrays of a cell are smaller from now on, where there was no memory for so many."""
        if not members:
            return
        before = self._most(cell)
        limit(self._limits, cell, members)
        if (most := self._most(cell)) < before:
            self._watcher.noted(
                f"  there was no memory for {members} trials of cell {cell} as one: at most "
                f"{most} are from now on"
            )

    def put_back_all(self) -> None:
        """The same for every job that was asked for and not told."""
        for trial in list(self._search.jobs):
            self.put_back(trial)

    @property
    def failed(self) -> list[str]:
        """Trials that failed for good and that `retry_failed` runs again."""
        return self._search.failed

    def retry_failed(self) -> None:
        """Hand out again what has failed for good; no cell that has a winner gets another."""
        if self.failed:
            for trial in self.failed:
                self._losses.pop(trial, None)
            self._run.append({"event": "retry failed", "trials": self.failed})
            self._write_decisions(self._search.retry())

    def note(self, event: Event) -> None:
        """Journal something that is neither ask nor tell."""
        self._run.append(event)

    def say(self, text: str) -> None:
        """Tell whoever watches."""
        self._watcher.noted(text)

    def end_copies(self, on_record: bool = True) -> None:
        """The session ends: what is copied to other tools is written out; see Copied.close."""
        if isinstance(self._watcher, Copied):
            self._watcher.close(on_record)

    def write_views(self) -> None:
        """Write the frames, and Optuna's view, as they are now, and hand them in.

        Raises:
            StoreError: they are written, and the store refuses them or what workers handed in.
        """
        self._run.to_disk()
        try:
            if self._mirror is not None:
                self._mirror.fetch_results()
        finally:
            self._run.write_frames()
            optuna_view.write(self.folder)
        if self._mirror is not None:
            self._mirror.flush(frames=True)

    # -- what is kept -------------------------------------------------------------------------

    def _write_decisions(self, decisions: list[Decision]) -> list[Event]:
        """Journal decisions; returns them as it has them."""
        events = job_form.decision_events(decisions)
        for event in events:
            self._run.append(job_form.plain(event))
        return events

    def _clean(self, cell: int, decisions: list[Event]) -> None:
        """Remove checkpoints that nothing goes on from; until a cell is decided, any trial may."""
        if self.spec.keep_checkpoints:
            return
        lost = [d["trial"] for d in decisions if d["verdict"] == "diverged"]
        over = [checkpoint_name(trial) for trial in lost]
        wanted = self._search.wanted(cell)
        try:
            if wanted is not None:
                keep = {checkpoint_name(trial) for trial in wanted}
                over += [name for name in self._checkpoints(cell) if name not in keep]
            if over:
                self._to_disk()
                if self._mirror is not None:
                    self._mirror.flush()
            for name in over:
                self._store.remove(name)
        except StoreError as error:  # they go with the next decision, or the next start
            self._watcher.noted(f"checkpoints that nothing goes on from stay: {error}")

    def _checkpoints(self, cell: int) -> list[str]:
        """Names of the checkpoints that are there of a cell's trials."""
        stems = [Path(name).stem for name in self._store.names("checkpoints")]
        return [checkpoint_name(stem) for stem in stems if stem.startswith(f"{cell:02d}-")]

    def _to_disk(self) -> None:
        self._run.to_disk()
        self._check_mirror()
        self._on_disk = time.monotonic()

    def _check_mirror(self) -> None:
        if self._mirror is not None:
            self._mirror.check()

    def _refresh(self) -> None:
        if time.monotonic() - self._written < max(WRITE_EVERY, 50 * self._writing):
            return
        started = time.monotonic()
        self._run.to_disk()  # after a power cut no frame is of more than the logs have
        self._run.write_frames()
        self._written = time.monotonic()
        self._writing = self._written - started
