"""What is said of the crowd task's settings, and which of them matter when."""

from pathlib import Path

import pytest
import torch

from trainables.settings import COMMON, LIMITS
from trainables.tasks.copies import COPIES
from trainables.tasks.crowd_settings import READ_WHERE, SETTINGS
from trainables.tasks.shanghaitech import TASK

DOCS = Path(__file__).parents[3] / "docs" / "crowds.md"


def test_every_setting_of_the_task_s_own_is_in_its_document():
    text = DOCS.read_text(encoding="utf-8")
    own = set(SETTINGS) - {*COMMON, *LIMITS, *COPIES}
    shared = {"head_lr", "clip_grad", "ema"}  # no other document tells them
    assert not [key for key in own | shared if f"`{key}`" not in text]


SMALL = {
    "edition": "synthetic",
    "crop": 64,
    "train_images": 2,
    "val_images": 2,
    "test_images": 2,
    "sigma": 4.0,
    "train_sample": 1,
}
OTHER = {
    "stride": 16,
    "last_layer": 4,
    "norm": "group",
    "output": "relu",
    "train_sample": 2,
    "kernel": "dots",
    "sigma": 2.0,
    "sigma_of": "crop",
}


def told_of(config, folder):
    """All that a step and an evaluation come to: losses of a few batches, scores of val."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        data = TASK.open_data(folder, config, 0, torch.device("cpu"))
        net = TASK.network(config, None)
        net.eval()  # as drawn: `start` would make all conv heads answer the same
        held, generator = [], torch.Generator().manual_seed(1)
        with torch.no_grad():
            for images, target in TASK.batches(data, config, generator):
                held.append(float(TASK.loss(net(images), target, config)[0]))
        splits = ["train", "val"] if TASK.measures_train(config) else ["val"]
        scores = [TASK.evaluate(net, data, s, config, generator, False).metrics for s in splits]
        return held, scores


@pytest.mark.parametrize("loss", ["mse", "huber", "dm", "bayesian"])
@pytest.mark.parametrize("head", ["fc", "conv"])
def test_the_table_of_what_is_read_is_what_training_and_evaluation_read(
    head, loss, complete, tmp_path
):
    if head == "fc" and loss != "mse":
        return  # refused
    base = {**SMALL, "head": head, "loss": loss}
    usual = told_of(complete("shanghaitech", **base), tmp_path)
    for key, value in OTHER.items():
        config = complete("shanghaitech", **{**base, key: value})
        read = any(all(config[k] in way[k] for k in way) for way in READ_WHERE[key])
        if key == "sigma_of" and head == "fc":
            config = complete("shanghaitech", **{**base, key: "image"})
        assert (told_of(config, tmp_path) != usual) is read, key


def test_a_kernel_of_dots_reads_no_sigma(complete, tmp_path):
    config = complete("shanghaitech", **SMALL, kernel="dots")
    assert not any("dots" in way.get("kernel", ()) for way in READ_WHERE["sigma"])
    held = [told_of({**config, "sigma": s, "sigma_of": "image"}, tmp_path) for s in (2.0, 4.0)]
    assert held[0] == held[1]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("resize", 25.0),
        ("resize", 0.001),
        ("density_scale", 1e30),
        ("density_scale", 1e-30),
        ("scale_low", 1e-4),
        ("scale_high", 50.0),
        ("crop", 32),
    ],
)
def test_sizes_and_scales_that_nothing_can_be_trained_with_are_refused(key, value):
    assert "must be at" in (SETTINGS[key].fault(value) or "")


def test_another_network_is_told_which_head_it_takes(complete):
    faults = TASK.conflicts(complete("shanghaitech", head="conv", network="resnet18"))
    assert list(faults) == ["network"] and "takes head = 'fc'" in faults["network"]


@pytest.mark.parametrize(("resize", "fix"), [(0.05, "raise resize"), (0.25, "use 192 at most")])
def test_a_crop_larger_than_the_images_is_asked_about_with_what_can_be_done(complete, resize, fix):
    held = complete("shanghaitech", part="B", head="conv", resize=resize, crop=256, sigma=8.0)
    assert TASK.questions(held)["crop"].endswith(fix)
