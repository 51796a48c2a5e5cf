"""What ends a study that could not go on, and what is no fault of a trial; loads nothing."""


class ExecutionError(RuntimeError):
    """The study cannot run, or cannot go on: no cluster, no node for a trial, a full disk."""


class StoreError(ExecutionError):
    """A store refuses, or what it holds is not what was handed in; names the URI and its words."""


class NotSharedError(ExecutionError):
    """A node does not see the run folder, or may not write to it."""
