"""Settings of the crowd task, and which of them cannot or seldom stand beside one another."""

from __future__ import annotations

import math
from dataclasses import replace

from trainables.dense import LAST_LAYERS, STRIDES
from trainables.networks import RESNET
from trainables.settings import COMMON, LIMITS, LOOP, common_conflicts
from trainables.task import Config, Needs, Setting
from trainables.tasks.copies import COPIES
from trainables.tasks.density import DISC_CUT

SHORT_SIDE = {"A": 589, "B": 768}  # mean of the files' images, px
LEAST_CROP = 64  # px
WIDE = 8  # a sigma above this share of the crop is asked about

# read with the conv head alone
CONV = {
    "stride": Setting(
        8, "of the conv head's map, px; layers beyond are dilated", choices=STRIDES, role="cell"
    ),
    "last_layer": Setting(
        3, "of the ResNet that the conv head stands on", choices=LAST_LAYERS, role="cell"
    ),
    "norm": Setting(
        "auto",
        "BatchNorm under the conv head: trained, frozen as it is, or GroupNorm in its place; auto "
        "is frozen from pretrained weights, else trained",
        choices=("auto", "trained", "frozen", "group"),
        role="cell",
    ),
    "output": Setting(
        "softplus",
        "of the conv head: what keeps its map from being negative",
        choices=("softplus", "relu", "none"),
    ),
    "norm_batches": replace(
        LOOP["norm_batches"],
        default=32,  # see trainables.engine.norm_statistics
        before=0,
    ),
    "resize": Setting(
        1.0,
        "factor on the size of every image, in training and evaluation: 0.5 is half resolution",
        low=0.05,
        high=4.0,
        role="cell",
    ),
    "flip_average": Setting(
        False, "evaluate by the mean of an image's map and its mirror image's", role="cell"
    ),
    "train_sample": Setting(
        32, "whole training images that the training error is measured on", low=1, role="study"
    ),
}

SETTINGS = {
    **COMMON,
    "head": Setting(
        "fc",
        "of the ResNet: fc, one output a pixel of the crop, as in the report; conv, a map of an "
        "image of any size",
        choices=("fc", "conv"),
        role="cell",
    ),
    **CONV,
    "batch_size": Setting(1, "crops a step", low=1),
    "optimizer": replace(COMMON["optimizer"], default="adam"),
    "schedule": replace(COMMON["schedule"], default="constant"),
    "lr": replace(COMMON["lr"], default=1e-3),
    "part": Setting(
        "B", "data class: A is dense crowds, B street scenes", choices=("A", "B"), role="cell"
    ),
    "edition": Setting(
        "auto",
        "files: those of the data directory, or generated look-alikes",
        choices=("auto", "files", "synthetic"),
        role="study",
    ),
    "val_fraction": Setting(
        0.2,
        "share of the training images cut off for validation; 0 tests after each epoch",
        0,
        0.5,
        role="study",
    ),
    **LIMITS,
    **COPIES,
    "crop": Setting(
        512,
        "side of crops, px; with the fc head also of whole images",
        low=LEAST_CROP,
        role="cell",
    ),
    "crops": Setting(1, "random crops of each training image an epoch", low=1),
    "jitter": Setting(
        0.0, "random change of brightness, contrast and saturation, as a share", 0.0, 0.9
    ),
    "scale_low": Setting(0.5, "smallest random rescale in training", low=0.01, high=10.0),
    "scale_high": Setting(1.5, "largest random rescale in training", low=0.01, high=10.0),
    "sigma": Setting(
        15.0, "of the ground truth's Gaussian, and of the Bayesian loss's, px", positive=True
    ),
    "sigma_of": Setting(
        "auto",
        "px that sigma is in: of the crop, or of the image as stored, so that it grows with the "
        "heads where a crop enlarges them; auto is crop for head = fc, image for conv",
        choices=("auto", "crop", "image"),
    ),
    "kernel": Setting(
        "gaussian",
        "ground truth: see trainables.tasks.density",
        choices=("gaussian", "disc", "adaptive", "dots"),
    ),
    "density_scale": Setting(
        512.0, "factor on density maps, divided out of counts", low=1e-4, high=1e6
    ),
    "loss": Setting(
        "mse",
        "between maps; bayesian and dm, by the heads themselves, with the conv head: see "
        "trainables.tasks.crowd_losses",
        choices=("mse", "dice", "huber", "bayesian", "dm"),
    ),
    "outside": Setting(
        "clamp",
        "points outside the image: moved to its border, or skipped",
        choices=("clamp", "skip"),
        role="cell",
    ),
    "double_single_head": Setting(False, "a crop of one head weighs two, as in the report's code"),
    "round_counts": Setting(
        False, "round predicted counts to whole heads, as in the report", role="study"
    ),
}

OF_MAPS = ("mse", "dice", "huber")
# flip_average is none of these: it averages the fc head's maps as well
READ_WHERE: dict[str, Needs] = {
    **dict.fromkeys(
        ("stride", "last_layer", "norm", "output", "train_sample"), ({"head": ("conv",)},)
    ),
    # where no BatchNorm is trained there are no statistics to estimate
    "norm_batches": (
        {"head": ("conv",), "norm": ("trained",)},
        {"head": ("conv",), "norm": ("auto",), "pretrained": (False,)},
    ),
    # dm compares with the heads themselves, but for the disc, which is drawn by itself; bayesian
    # draws no map
    "kernel": ({"loss": OF_MAPS}, {"loss": ("dm",), "kernel": ("disc",)}),
    "sigma": (
        {"loss": ("bayesian",)},
        {"loss": OF_MAPS, "kernel": ("gaussian", "disc", "adaptive")},
        {"loss": ("dm",), "kernel": ("disc",)},
    ),
    "sigma_of": (
        {"loss": ("bayesian",)},
        {"loss": OF_MAPS, "kernel": ("gaussian", "disc")},
        {"loss": ("dm",), "kernel": ("disc",)},
    ),
    "double_single_head": ({"loss": (*OF_MAPS, "dm")},),
}


def conflicts(config: Config) -> dict[str, str]:
    """Shared conflicts, and an empty range of scales."""
    faults = common_conflicts(config)
    if config["scale_low"] > config["scale_high"]:
        faults["scale_low"] = f"is above scale_high ({config['scale_high']})"
    if config["stem"] == "cifar":
        faults["stem"] = "'cifar' is for 32x32 images; crowd counting takes 'imagenet'"
    if config["val_fraction"] == 0 and config["checkpoint_rule"] == "best":
        faults["val_fraction"] = (
            "0 leaves nothing to choose the best by; use checkpoint_rule = 'last'"
        )
    return {**faults, **_head_conflicts(config)}


def _head_conflicts(config: Config) -> dict[str, str]:
    """What one of the heads cannot."""
    faults = {}
    if config["head"] == "fc":
        if config["loss"] in ("bayesian", "dm"):
            those = " or ".join(map(repr, OF_MAPS))
            faults["loss"] = f"{config['loss']!r} needs head = 'conv'; fc takes {those}"
        if config["resize"] != 1:
            faults["resize"] = "needs head = 'conv'; with 'fc' images are squashed to crop"
        return faults
    if config["network"] != RESNET:
        faults["network"] = (
            f"{config['network']!r} takes head = 'fc'; 'conv' takes network = 'resnet' of a depth"
        )
    if config["crop"] % config["stride"]:
        faults["crop"] = f"must be a multiple of stride ({config['stride']})"
    if config["loss"] == "dm" and config["output"] == "none":
        faults["output"] = "'none' may be negative, which loss = 'dm' cannot compare"
    if config["norm"] == "frozen" and not config["pretrained"]:
        faults["norm"] = (
            "'frozen' keeps the statistics of weights, and pretrained = false has none; use "
            "'auto', 'trained' or 'group'"
        )
    return faults


def sigma_of(config: Config, zoom: float) -> float:
    """Width of a head's Gaussian on a map whose pixels are `zoom` a pixel of the image."""
    chosen = config["sigma_of"]
    follows = config["head"] == "conv" if chosen == "auto" else chosen == "image"
    return float(config["sigma"]) * (zoom if follows else 1.0)


def _is_read(key: str, config: Config) -> bool:
    return any(all(config[name] in way[name] for name in way) for way in READ_WHERE[key])


def questions(config: Config) -> dict[str, str]:
    """Lengths that do not fit the crop; the report's are for 512 px.

    With the fc head they do not follow the crop by themselves. Measured at 64 px, depth 18, 15
    epochs, one seed, as test MAE at lr 1e-3 (1e-4). Of 160 images of Part A, where zero has 451:
    414 (380) with the report's lengths, 209 (346) with both scales in proportion, 425 (403) with
    sigma in proportion. Of the generated images, which are small themselves: 13 (13), 17 (19),
    29 (26). So scales that fit hang on the images' size too, and a sigma in proportion is no
    better. With the conv head crops are no smaller than what they show, and sigma is in px of the
    image.
    """
    asked = _sigma_questions(config)
    if config["head"] == "conv":
        asked |= _seen_questions(config)
    elif config["edition"] != "synthetic":
        asked |= _scale_questions(config, config["crop"] / SHORT_SIDE[config["part"]])
    return asked


def _sigma_questions(config: Config) -> dict[str, str]:
    """A width that a crop, a pixel or the disc's cut does not fit, where heads have one width."""
    if not _is_read("sigma", config):
        return {}
    asked, crop, sigma = {}, config["crop"], config["sigma"]
    drawn = _is_read("kernel", config)
    wide = sigma_of(config, config["resize"])  # of a crop that is not rescaled at random
    if drawn and config["kernel"] == "adaptive":
        return {}  # sigma is that of a head alone in its image
    if wide > crop / WIDE:
        asked["sigma"] = (
            f"{wide:g} px spreads a head over {4 * wide:g} of the crop's "
            f"{crop} px, so a map says how many and hardly where; in proportion to 15 at 512 it "
            f"is {15 * crop / 512:.3g}, which is not always better: try both"
        )
    elif wide < 0.5:
        asked["sigma"] = f"{wide:g} px leaves a head one pixel of the map"
    if drawn and config["kernel"] == "disc" and 2 * math.pi * sigma**2 * DISC_CUT >= 1:
        asked["kernel"] = (
            f"'disc' is cut at a density that sigma = {sigma:g} nowhere reaches, so a head is one "
            "pixel; use 'gaussian', or a sigma below 23"
        )
    return asked


def _seen_questions(config: Config) -> dict[str, str]:
    """Scales of training that do not hold that of whole images, which is 1 (times resize)."""
    low, high, crop = config["scale_low"], config["scale_high"], config["crop"]
    asked = {}
    if not low <= 1 <= high:
        asked["scale_low" if low > 1 else "scale_high"] = (
            f"training shows heads at {low:g} to {high:g} of the size that they have in the whole "
            "images of validation and test"
        )
    short = SHORT_SIDE[config["part"]] * config["resize"]
    if crop > short and config["edition"] != "synthetic":
        fits = int(short) // config["stride"] * config["stride"]
        fix = f"use {fits} at most" if fits >= LEAST_CROP else "raise resize"
        asked["crop"] = (
            f"{crop} px is more than the {short:.0f} px of most images' short side at resize = "
            f"{config['resize']:g}, so crops enlarge them: training shows heads at "
            f"{crop / short:.3g} times the size that they have in validation and test, or larger, "
            f"and never at that size; {fix}"
        )
    return asked


def _scale_questions(config: Config, seen: float) -> dict[str, str]:
    """Scales of training that do not hold the one at which whole images are seen."""
    low, high, crop = config["scale_low"], config["scale_high"], config["crop"]
    if seen < low:
        text = (
            f"training shows heads at {low:g} to {high:g} of their size, validation and test at "
            f"about {seen:.2g} (whole images at crop = {crop}); in proportion to 512 px the "
            f"scales are {0.5 * crop / 512:.3g} and {1.5 * crop / 512:.3g}"
        )
        return {"scale_low": text}
    if seen > high:
        text = (
            f"is below {seen:.2g}, at which most images are as small as crop = {crop}, so those "
            f"are never rescaled at random; in proportion to 512 px it is {1.5 * crop / 512:.3g}"
        )
        return {"scale_high": text}
    return {}
