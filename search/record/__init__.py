"""The record of a study: `from search import record; record.load("runs/mine")`.

May import `spec` and `trainables`; what is named here loads neither ray nor torch. Start reading
at `read.py`, which describes every file and column.
"""

from search.record.completeness import Choice, missing, short_choices
from search.record.frames import setting_column, trial_column
from search.record.journal import JournalError
from search.record.read import (
    DECISION,
    FORMAT,
    LOCK,
    Record,
    build,
    load,
    load_study,
    read_events,
    write,
)
from search.record.stored import EPOCHS, JOURNAL, STUDY, RecordError
from search.record.verification import Verification, verify
from trainables.errors import RecordWarning, UserError

__all__ = [
    "DECISION",
    "EPOCHS",
    "FORMAT",
    "JOURNAL",
    "LOCK",
    "STUDY",
    "Choice",
    "JournalError",
    "Record",
    "RecordError",
    "RecordWarning",
    "UserError",
    "Verification",
    "build",
    "load",
    "load_study",
    "missing",
    "read_events",
    "setting_column",
    "short_choices",
    "trial_column",
    "verify",
    "write",
]
