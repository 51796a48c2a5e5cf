"""What happens in a study as W&B shows it: a run a trial, by Ray's own WandbLoggerCallback.

Ray's starts two processes for each run; here runs are held in the driver's, which W&B can do now.
A trial that goes on does so in the run that it has: its id is that of the trial.
"""

from __future__ import annotations

import contextlib
import netrc
import os
from typing import Any
from urllib.parse import urlsplit

from search.record import Record
from search.run.copies import Given, Scalars, Stay
from search.run.stand_in import StandIn, package_fault
from search.spec.study_spec import StudySpec

KEY, MODE, PROJECT = "WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT"
NEEDS = ("log.to = 'wandb'", ("wandb",), (0, 21), "wandb>=0.21")
WITHOUT_KEY = ("offline", "disabled")


def fault(spec: StudySpec) -> str:
    """What this machine lacks to write to W&B; "" if nothing."""
    if missing := package_fault(*NEEDS):
        return missing
    if mode_of(spec) in WITHOUT_KEY or os.environ.get(KEY) or _logged_in():
        return ""
    return (
        f"log.to = 'wandb' needs an API key: set {KEY}, or `wandb login`; or write on this "
        "machine alone, to be sent later: [log.wandb] mode = 'offline', or WANDB_MODE=offline"
    )


def mode_of(spec: StudySpec) -> str:
    """Online, offline or disabled: as the study file says, else the environment."""
    mode = spec.log.wandb.mode or os.environ.get(MODE) or "online"
    return "offline" if mode == "dryrun" else mode  # its name in the environment, once


def _logged_in() -> bool:
    """Whether `wandb login` has left a key for the server."""
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    with contextlib.suppress(OSError, netrc.NetrcParseError):
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    return False


class Wandb:
    """Writes to W&B; see Log. Its files are in `wandb/` of the run folder.

    Steps are epochs. W&B takes steps in order alone: an epoch that is trained again after an
    interruption keeps its first numbers, and scores on test stand at the last epoch, with
    `value_epoch`, which they are of, beside them.
    """

    name, later = "W&B", ""

    def __init__(self, given: Given) -> None:
        self._given, self._held = given, given.spec.log.wandb
        self._callback: Any = None
        self._open: dict[str, StandIn] = {}

    def catch_up(self, held: Record) -> None:
        """See Log: W&B takes no step below one that it has."""

    def begin(self, stay: Stay) -> None:
        """See Log."""
        if self._callback is None:
            self._callback = self._begun()
        given = self._given
        shown = StandIn(
            f"{given.run_id}-{stay.trial}",
            f"{given.cells[stay.cell]} {stay.trial}",
            {
                "stage": stay.stage,
                "cell": given.cells[stay.cell],
                "trial": stay.trial,
                **stay.config,
            },
            given.study,
            str(given.run),
        )
        if stay.trial in self._open:  # of a job that was lost
            self._callback.log_trial_end(self._open.pop(stay.trial), failed=True)
        self._open[stay.trial] = shown
        self._callback.log_trial_start(shown)

    def add(self, trial: str, epoch: int, scalars: Scalars) -> None:
        """See Log."""
        if (shown := self._open.get(trial)) is not None:
            self._callback.log_trial_result(epoch, shown, scalars)

    def end(self, trial: str, epoch: int, last: int, scores: Scalars, failed: bool) -> None:
        """See Log."""
        if (shown := self._open.pop(trial, None)) is not None:
            if scores:
                self._callback.log_trial_result(last, shown, {**scores, "value_epoch": epoch})
            self._callback.log_trial_end(shown, failed=failed)

    def close(self) -> None:
        """See Log."""
        for trial in list(self._open):
            self._callback.log_trial_end(self._open.pop(trial), failed=True)

    def _begun(self) -> Any:
        """Ray's callback, set up.

        Raises:
            ValueError: there is no key.
        """
        from search.run import cluster  # noqa: F401 - first: it sets what ray reads when imported

        import wandb  # isort: skip  # type: ignore[import-not-found,unused-ignore]
        from ray.air.integrations.wandb import WandbLoggerCallback  # isort: skip

        class Here(WandbLoggerCallback):  # type: ignore[misc]
            """Ray's, with runs in this process."""

            runs: dict[Any, Any] = {}  # noqa: RUF012 - of this class, which is made once a log

            def _start_logging_actor(self, trial: Any, exclude: list[str], **given: Any) -> None:
                self.runs[trial] = wandb.init(**given)

            def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
                """An epoch is over."""
                self.runs[trial].log(result, step=iteration)

            def log_trial_end(self, trial: Any, failed: bool = False) -> None:
                """The run ends, or waits."""
                self.runs.pop(trial).finish(exit_code=int(failed))

        given, mode = self._given, mode_of(self._given.spec)
        if mode in WITHOUT_KEY:
            os.environ[MODE] = mode  # Ray's asks for no key then
        callback = Here(
            project=self._held.project or os.environ.get(PROJECT) or given.study,
            group=given.run_id,
            entity=self._held.entity,
            mode=mode,
            dir=str(given.run),
            resume="allow",
            reinit="create_new",
            tags=[given.study],
            settings=wandb.Settings(
                silent=True, console="off", disable_git=True, x_disable_stats=True
            ),
        )
        callback.setup()
        return callback
