"""A crowd study on generated data through real Ray to its report: the whole way of `make demo`."""

import subprocess
import sys

import pandas as pd
import pytest

STUDY = """
name = "crowd"
task = "shanghaitech"
[cells]
depth = [18]
part = ["A", "B"]
[space.lr]
values = [1e-3, 1e-4]
[fixed]
edition = "synthetic"
crop = 64
batch_size = 4
train_images = 12
val_images = 6
test_images = 8
[budget]
trials_per_cell = 2
max_epochs = 2
grace_epochs = 1
reduction_factor = 2
[confirm]
seeds = [1, 2]
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_from_study_file_to_report(tmp_path):
    (tmp_path / "crowd.toml").write_text(STUDY)
    for words in (
        ["search", "run", "crowd.toml"],
        ["analysis", "build", "runs/crowd"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", *words], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
    report = tmp_path / "runs" / "crowd" / "report"
    page = (report / "index.html").read_text()
    assert "SYNTHETIC" in page
    assert "training median" in page
    assert list((report / "figures").glob("*F4*.png"))
    table = pd.read_csv(next((report / "tables").glob("*T4.csv")))
    mae = table[(table["metric"] == "mae") & (table["status"] == "complete")]
    assert set(mae["n"]) == {2}
    per_image = pd.read_parquet(tmp_path / "runs" / "crowd" / "per_image.parquet")
    by_hand = (
        (per_image["truth"] - per_image["prediction"]).abs().groupby(per_image["trial"]).mean()
    )
    trials = pd.read_parquet(tmp_path / "runs" / "crowd" / "trials.parquet").set_index("trial")
    for trial, value in by_hand.items():
        assert trials.loc[trial, "test_mae"] == pytest.approx(value)
