"""What is told of a study before its first trial, on synthetic data."""

import tomllib

import pytest
import torch
from torchvision.models import resnet18

from search.run.network_checks import pretrained_files
from search.run.options import Options, PreflightError
from search.run.preflight import fingerprints
from search.spec.shipped import find_study
from search.spec.study_spec import load_spec, parse_spec
from trainables.resnet import weights_name
from trainables.tasks import cifar10_files

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


def test_a_file_that_has_only_the_name_of_torchvision_s_is_told(tmp_path):
    said = []
    options = Options(tmp_path, tmp_path, tmp_path, "local", said.append, download=False)
    text = TEXT.format(fixed="pretrained = true", space="").replace("[18, 34]", "[18]")
    path = tmp_path / weights_name(18)
    torch.save(resnet18().state_dict(), path)
    spec = parse_spec(tomllib.loads(text), "mine.toml")
    assert pretrained_files(spec, options, tmp_path) == {0: path}
    assert any("has the name of torchvision's file and not its checksum" in note for note in said)
    path.unlink()


def test_damaged_data_is_read_once_for_all_depths(tmp_path, monkeypatch):
    """To decode it anew for each of ten cells would take minutes before it is refused."""
    for part in ("train", "test"):
        (tmp_path / f"{part}-00000-of-00001.parquet").write_bytes(b"PAR1 cut off")
    asked = []
    read = cifar10_files.read_parquet
    monkeypatch.setattr(cifar10_files, "read_parquet", lambda d: [asked.append(d), read(d)][1])
    spec = load_spec(find_study("cifar10"), [])[0]
    options = Options(tmp_path, tmp_path, tmp_path, "local", lambda text: None, download=False)
    with pytest.raises(PreflightError, match=r"2 faults of the data"):
        fingerprints(spec, options)
    assert len(spec.cell_values()) == 10
    assert len(asked) == 1
