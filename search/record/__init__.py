"""The record of a study: `from search import record; record.load("runs/mine")`.

May import `spec` and `trainables`; what is named here loads neither ray nor torch. Start reading
at `read.py`, which describes every file and column.
"""

from search.record.columns import setting_column, trial_column
from search.record.completeness import OPEN, Choice, missing, short_choices
from search.record.counts import (
    STATES,
    Configs,
    Counts,
    Seeds,
    configs_planned,
    counts,
    result_stage,
    searched,
)
from search.record.journal import JournalError
from search.record.naming import cell_label
from search.record.planned import epochs_of_cell, plan_from
from search.record.read import (
    DECISION,
    LOCK,
    Record,
    load,
    read_events,
)
from search.record.stored import EPOCHS, JOURNAL, LOGS, STUDY, RecordError, sizes_of
from search.record.study_file import FORMAT, load_study
from search.record.verification import Verification, verify
from search.record.written import write
from trainables.errors import RecordWarning, UserError, did_you_mean, reason
from trainables.files import whole, whole_new

__all__ = [
    "DECISION",
    "EPOCHS",
    "FORMAT",
    "JOURNAL",
    "LOCK",
    "LOGS",
    "OPEN",
    "STATES",
    "STUDY",
    "Choice",
    "Configs",
    "Counts",
    "JournalError",
    "Record",
    "RecordError",
    "RecordWarning",
    "Seeds",
    "UserError",
    "Verification",
    "cell_label",
    "configs_planned",
    "counts",
    "did_you_mean",
    "epochs_of_cell",
    "load",
    "load_study",
    "missing",
    "plan_from",
    "read_events",
    "reason",
    "result_stage",
    "searched",
    "setting_column",
    "short_choices",
    "sizes_of",
    "trial_column",
    "verify",
    "whole",
    "whole_new",
    "write",
]
