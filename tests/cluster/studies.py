"""A study for clusters whose trials go wrong on a machine when a test says so.

Its network is a small one of its own beside the study file. On a machine that a file beside it
names it hangs (`hang-HOST`), takes memory until it is ended (`eat-HOST`) or takes ten times as
long for a step (`slow-HOST`).
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from search import record
from tests.tiny import tiny_study

STUDY = tiny_study(
    'network = ["own:build"]', trials=6, epochs=(2, 8), fixed="", top="stalled_seconds = 60"
)
NETWORK = """
import platform
import time
from pathlib import Path

from torch import nn

HERE = Path(__file__).parent


class Network(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.layer = nn.Linear(3 * 32 * 32, outputs)

    def forward(self, images):
        host = platform.node()
        time.sleep(2.0 if (HERE / f"slow-{host}").exists() else 0.2)
        while (HERE / f"hang-{host}").exists():
            time.sleep(0.1)
        held = []
        while (HERE / f"eat-{host}").exists():
            held.append(b"1" * 2**26)
        return self.layer(images.flatten(1))


def build(outputs, config):
    return Network(outputs)
"""


def write_study(folder: Path) -> None:
    """Put it and its network into a folder, as tiny.toml and own.py."""
    (folder / "tiny.toml").write_text(STUDY, encoding="utf-8")
    (folder / "own.py").write_text(NETWORK, encoding="utf-8")


def events(run: Path) -> list[dict]:
    """The journal so far, also while it is written."""
    path = run / record.JOURNAL
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [json.loads(line) for line in lines[:-1]]


def results(run: Path) -> tuple[pd.DataFrame, dict[int, str]]:
    """Values of every trial and epoch, and the winner of each cell."""
    held = record.load(run)
    curves = held.curves[held.curves["name"].isin(["val_accuracy", "train_loss"])]
    table = curves.set_index(["trial", "epoch", "name"])["value"].sort_index()
    chosen = held.decisions[held.decisions["verdict"] == "select"]
    return table, dict(zip(chosen["cell"], chosen["trial"], strict=True))


def alike(run: Path, undisturbed: Path) -> None:
    """All that both have trained came out equal, and they chose the same."""
    one, other = results(run), results(undisturbed)
    both = pd.concat([one[0], other[0]], axis=1, join="inner")
    print("epochs with equal values:", len(both) // 2, "of", len(other[0]) // 2)
    assert (both.iloc[:, 0] == both.iloc[:, 1]).all()
    assert one[1] == other[1]
