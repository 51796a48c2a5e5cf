"""What ends a study that could not go on; loads nothing."""


class ExecutionError(RuntimeError):
    """The study cannot run, or cannot go on: no cluster, no node for a trial, a full disk."""
