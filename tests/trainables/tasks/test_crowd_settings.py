"""What is said of the crowd task's settings."""

from pathlib import Path

from trainables.settings import COMMON, LIMITS
from trainables.tasks.copies import COPIES
from trainables.tasks.crowd_settings import SETTINGS

DOCS = Path(__file__).parents[3] / "docs" / "crowds.md"


def test_every_setting_of_the_task_s_own_is_in_its_document():
    text = DOCS.read_text(encoding="utf-8")
    own = set(SETTINGS) - {*COMMON, *LIMITS, *COPIES}
    shared = {"head_lr", "clip_grad", "ema"}  # no other document tells them
    assert not [key for key in own | shared if f"`{key}`" not in text]
