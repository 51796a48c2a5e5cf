"""What ends a study that could not go on, and what is no fault of a trial; loads nothing."""


class ExecutionError(RuntimeError):
    """The study cannot run, or cannot go on: no cluster, no node for a trial, a full disk."""


class StoreError(ExecutionError):
    """A store refuses, or what it holds is not what was handed in; names the URI and its words."""


class TakenOverError(ExecutionError):
    """Another driver has taken the study over; nothing goes on from this one's own copy."""


class NotSharedError(ExecutionError):
    """A node does not see the run folder, or may not write to it."""


class InfrastructureError(RuntimeError):
    """A job could not run where it was put; no fault of its config.

    Args:
        cause: in a word, for the record: "code", "run folder", ...
        text: what is wrong, and what mends it.
    """

    def __init__(self, cause: str, text: str) -> None:
        super().__init__(text)
        self.cause = cause


class DiskError(RuntimeError):
    """A worker could not write: its disk is full, or may not be written."""
