"""What is told of a study before its first trial, on synthetic data."""

import tomllib

import pytest

from search.run.preflight import Options, fingerprints
from search.spec.study_spec import parse_spec

TEXT = """
name = "mine"
task = "cifar10"
[cells]
depth = [18, 34]
[fixed]
edition = "synthetic"
train_images = 100
val_images = 8
batch_size = 16
{fixed}
{space}
[budget]
max_epochs = 3
"""


@pytest.mark.parametrize(
    ("fixed", "space", "late"),
    [
        ("schedule = 'step'\nmilestones = [10, 20]", "", []),
        ("schedule = 'step'\nmilestones = [0.5, 20]", "", []),
        ("schedule = 'step'\nmilestones = [10, 21, 32000]", "", ["21", "32000"]),
        ("schedule = 'cosine'\nmilestones = [10, 32000]", "", []),
        ("milestones = [32000]", "[space]\nschedule = ['step', 'cosine']", ["32000"]),
        ("milestones = [32000]", "[space]\nschedule = ['constant', 'cosine']", []),
    ],
)
def test_a_milestone_that_no_step_reaches_is_told_once(fixed, space, late, tmp_path):
    """100 images in batches of 16 are 7 steps an epoch, 21 in all, the last of them number 20."""
    said = []
    options = Options(tmp_path, tmp_path, tmp_path, "local", said.append)
    spec = parse_spec(tomllib.loads(TEXT.format(fixed=fixed, space=space)), "mine.toml")
    assert len(fingerprints(spec, options)) == 1
    assert [note.split()[2] for note in said] == late
    assert all("lies beyond the 21 steps of 3 epochs" in note for note in said)
