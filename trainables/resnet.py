"""ResNet 18 to 152 from torchvision: stems, heads, and pretrained weights, checked before use."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torchvision import models

from trainables.errors import UserError

Stem = Literal["imagenet", "cifar"]

# V1 for every depth: torchvision's DEFAULT is V1 for depth 18 but V2, another recipe, from 50 up,
# and then depth would not be the only thing that changes.
DEPTHS: dict[int, tuple[Callable[[], models.ResNet], models.WeightsEnum]] = {
    18: (models.resnet18, models.ResNet18_Weights.IMAGENET1K_V1),
    34: (models.resnet34, models.ResNet34_Weights.IMAGENET1K_V1),
    50: (models.resnet50, models.ResNet50_Weights.IMAGENET1K_V1),
    101: (models.resnet101, models.ResNet101_Weights.IMAGENET1K_V1),
    152: (models.resnet152, models.ResNet152_Weights.IMAGENET1K_V1),
}


class WeightsError(UserError):
    """Pretrained weights are missing or unfit; the message names depth, file and what to do."""


def backbone(
    depth: int,
    head: Callable[[int], nn.Module],
    stem: Stem = "imagenet",
    weights: Path | None = None,
) -> models.ResNet:
    """Build a torchvision ResNet with another last layer.

    Args:
        depth: key of DEPTHS.
        head: called with the number of pooled features, returns the last layer.
        stem: "imagenet" is the stock 7x7 stride 2 convolution and max pool; "cifar" a 3x3
            stride 1 convolution and no pool, for 32x32 images.
        weights: a torchvision state dict of this depth to start from; None starts from scratch.

    Returns:
        The network: `(batch, 3, height, width)` to whatever the head returns.

    Raises:
        WeightsError: the file is missing, no state dict, or of another network.
    """
    build, _ = DEPTHS[depth]
    net = build()
    if stem == "cifar":
        net.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
        nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
        net.maxpool = nn.Identity()
    if weights is not None:
        _load_all_but_head(net, depth, weights)
    net.fc = head(net.fc.in_features)
    return net


def weights_name(depth: int) -> str:
    """Name of torchvision's own IMAGENET1K_V1 file, e.g. resnet18-f37072fd.pth."""
    return str(DEPTHS[depth][1].url).rsplit("/", 1)[-1]


def own_weights(depth: int, folder: Path) -> Path:
    """Where a folder of own weights holds those of `depth`: resnet18.pth, beside its origin."""
    return folder / f"resnet{depth}.pth"


def find_own_weights(depth: int, weights_dir: Path, name: str) -> Path:
    """Path of the user's own weights `name` of `depth`, in the folder of that name.

    Raises:
        WeightsError: not there.
    """
    path = own_weights(depth, weights_dir / name)
    if not path.is_file():
        raise WeightsError(
            f"depth {depth}: no weights at {path} (weights = {name!r}). `resnet-search weights "
            f"RUN --out {path.parent}` makes them of a finished study; or put a state dict of "
            f"torchvision's resnet{depth} there, or name the folder above with --weights-dir"
        )
    return path


def find_weights(depth: int, weights_dir: Path, download: bool = False) -> Path:
    """Path of the ImageNet weights of `depth` in `weights_dir`.

    Args:
        depth: key of DEPTHS.
        weights_dir: folder with torchvision's files under their own names.
        download: fetch a missing file from torchvision's server into the folder (once, checked
            against the hash in its name).

    Raises:
        WeightsError: not there and not to be had.
    """
    path = weights_dir / weights_name(depth)
    if path.is_file():
        return path
    url = DEPTHS[depth][1].url
    advice = (
        f"depth {depth}: no pretrained weights at {path}. Put torchvision's file {path.name} "
        f"(from {url}) there, or name its folder with --weights-dir"
    )
    if not download:
        raise WeightsError(advice)
    weights_dir.mkdir(parents=True, exist_ok=True)
    prefix = re.search(r"-([0-9a-f]{8})\.pth$", path.name)
    try:
        torch.hub.download_url_to_file(
            url, str(path), hash_prefix=prefix.group(1) if prefix else None, progress=False
        )
    except (OSError, RuntimeError) as error:
        raise WeightsError(f"{advice}. The download failed: {error}") from error
    return path


def describe_weights(path: Path) -> dict[str, Any]:
    """File name, sha256, whether the hash is the one in torchvision's file name, and the origin.

    `origin` is there where a json file of the same name stands beside it: see search.run.weights.

    Raises:
        WeightsError: that file cannot be read.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    prefix = re.search(r"-([0-9a-f]{8})\.pth$", path.name)
    held = {
        "file": path.name,
        "sha256": digest,
        "official": prefix is not None and digest.startswith(prefix.group(1)),
    }
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return held
    try:
        origin = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{beside}: cannot be read as JSON ({error}); remove it") from error
    if not isinstance(origin, dict):
        raise WeightsError(f"{beside}: holds no JSON object that says where the weights are from")
    return {**held, "origin": origin}


def check_weights(depth: int, path: Path) -> None:
    """Load the file into a network of this depth once: a wrong one is refused before a trial.

    Raises:
        WeightsError: see `backbone`.
    """
    with torch.device("meta"):
        net = DEPTHS[depth][0]()
    _load_all_but_head(net, depth, path, assign=True)


def _load_all_but_head(net: nn.Module, depth: int, path: Path, assign: bool = False) -> None:
    """Copy every tensor but the head's; each must be there, in its shape, and no other."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise WeightsError(
            f"depth {depth}: no pretrained weights at {path}; name their folder with --weights-dir"
        ) from None
    except Exception as error:  # torch.load raises many kinds for a truncated or foreign file
        # not torch's own text: it advises to load unsafely
        raise WeightsError(
            f"depth {depth}: {path} is no loadable weights file ({type(error).__name__}); fetch "
            "or make it again"
        ) from error
    if not isinstance(state, dict) or not all(torch.is_tensor(v) for v in state.values()):
        raise WeightsError(f"depth {depth}: {path} holds no state dict of tensors")
    body = {k: v for k, v in state.items() if not k.startswith("fc.")}
    own = {k: v for k, v in net.state_dict().items() if not k.startswith("fc.")}
    # old torchvision files carry no batch counters; load_state_dict starts them at zero
    missing = [k for k in own if k not in body and not k.endswith("num_batches_tracked")]
    extra = [k for k in body if k not in own]
    shapes = [k for k in own if k in body and own[k].shape != body[k].shape]
    if missing or extra or shapes:
        faults = ", ".join(
            f"{len(keys)} {what} (first: {keys[0]})"
            for what, keys in (("missing", missing), ("unknown", extra), ("misshapen", shapes))
            if keys
        )
        raise WeightsError(
            f"depth {depth}: {path} does not fit ResNet-{depth}: {faults}. It must hold the state "
            f"dict of torchvision's resnet{depth}, as {weights_name(depth)} does"
        )
    net.load_state_dict(body, strict=False, assign=assign)
