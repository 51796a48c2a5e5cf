"""ResNet 18 to 152 from torchvision: stems, heads, and pretrained weights, checked before use."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torchvision import models

from trainables.errors import WeightsError, reason
from trainables.weights_file import SAVE, body_of, fits, read_state

Stem = Literal["imagenet", "cifar"]

TRIED_SIZE = (64, 64)  # of the images that weights are tried on: at 32 maps of one pixel come out

# V1 for every depth: torchvision's DEFAULT is V1 for depth 18 but V2, another recipe, from 50 up,
# and then depth would not be the only thing that changes.
DEPTHS: dict[int, tuple[Callable[[], models.ResNet], models.WeightsEnum]] = {
    18: (models.resnet18, models.ResNet18_Weights.IMAGENET1K_V1),
    34: (models.resnet34, models.ResNet34_Weights.IMAGENET1K_V1),
    50: (models.resnet50, models.ResNet50_Weights.IMAGENET1K_V1),
    101: (models.resnet101, models.ResNet101_Weights.IMAGENET1K_V1),
    152: (models.resnet152, models.ResNet152_Weights.IMAGENET1K_V1),
}


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


def missing_tensors(state: Mapping[str, Tensor], depth: int) -> list[str]:
    """Names of the ResNet of a depth that a state dict lacks, its head's and counters' aside."""
    with torch.device("meta"):
        names = list(DEPTHS[depth][0]().state_dict())
    wanted = (name for name in names if not name.startswith("fc."))
    return [n for n in wanted if n not in state and not n.endswith("num_batches_tracked")]


def weights_url(depth: int) -> str:
    """Where torchvision's IMAGENET1K_V1 file is downloaded from."""
    return str(DEPTHS[depth][1].url)


def weights_name(depth: int) -> str:
    """Name of torchvision's own IMAGENET1K_V1 file, e.g. resnet18-f37072fd.pth."""
    return weights_url(depth).rsplit("/", 1)[-1]


def own_weights(depth: int, folder: Path) -> Path:
    """Where a folder of own weights holds those of `depth`: resnet18.pth, beside its origin."""
    return folder / f"resnet{depth}.pth"


def find_own_weights(depth: int, weights_dir: Path, name: str) -> Path:
    """Path of the user's own weights `name` of `depth`, in the folder of that name.

    Raises:
        WeightsError: not there.
    """
    path = own_weights(depth, weights_dir / name)
    if not is_there(depth, path):
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
    if is_there(depth, path):
        return path
    url = weights_url(depth)
    advice = (
        f"depth {depth}: no pretrained weights at {path}. Put torchvision's file {path.name} "
        f"(from {url}) there, or name its folder with --weights-dir"
    )
    if not download:
        raise WeightsError(advice)
    prefix = re.search(r"-([0-9a-f]{8})\.pth$", path.name)
    try:
        weights_dir.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(
            url, str(path), hash_prefix=prefix.group(1) if prefix else None, progress=False
        )
    except (OSError, RuntimeError) as error:
        raise WeightsError(f"{advice}. The download failed: {error}") from error
    return path


def is_there(depth: int, path: Path) -> bool:
    """Whether something is at a path; what it is, is told when it is read.

    Raises:
        WeightsError: its folder cannot be looked into.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise WeightsError(
            f"depth {depth}: {path} cannot be looked for ({reason(error)}); let yourself read "
            "its folder, or name another with --weights-dir"
        ) from error
    return True


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
    origin = read_origin(path)
    return held if origin is None else {**held, "origin": origin}


def read_origin(path: Path) -> dict[str, Any] | None:
    """What the json file beside weights says of where they are from; None without one.

    Raises:
        WeightsError: it is damaged, or says something twice.
    """
    beside = path.with_suffix(".json")
    if not beside.exists():
        return None
    try:
        text = beside.read_text(encoding="utf-8")
        origin = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(
            f"{beside}: cannot be read as JSON ({reason(error)}); remove it"
        ) from error
    if not isinstance(origin, dict):
        raise WeightsError(f"{beside}: holds no JSON object that says where the weights are from")
    return origin


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    held = dict(pairs)
    if len(held) < len(pairs):  # json would take the last and say nothing
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key {twice!r} twice")
    return held


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number")


def check_weights(depth: int, path: Path) -> list[str]:
    """Load the file into a network of this depth and run it once, before there is a trial.

    Returns:
        What is worth a word and no fault, e.g. a layer whose values are all the same.

    Raises:
        WeightsError: with every fault; see `backbone`.
    """
    with torch.device("meta"):
        net = DEPTHS[depth][0]()
    notes = _load_all_but_head(net, depth, path, assign=True)
    try:
        notes += _try(net)
    except WeightsError as error:
        raise WeightsError(f"depth {depth}: {path} {error}") from error
    return [f"depth {depth}: {path} {note}" for note in notes]


@torch.no_grad()
def _try(net: models.ResNet) -> list[str]:
    """Give the network two images of noise, as its first epoch would.

    Returns:
        Notes.

    Raises:
        WeightsError: no number comes out, or no image's own; words to go behind a file's name.
    """
    net.fc = nn.Identity()
    images = torch.randn(2, 3, *TRIED_SIZE, generator=torch.Generator().manual_seed(0))
    first: list[str] = []
    for name, layer in net.named_modules():
        if not list(layer.children()):
            layer.register_forward_hook(partial(_note_lost, first, name))
    alike = {}
    for training in (False, True):  # by running statistics, and by those of the batch
        features = net.train(training)(images)
        if first:
            raise WeightsError(
                f"gives no finite output in {'training' if training else 'evaluation'}, first "
                f"after {first[0]}: weights there are too large, or running statistics before it "
                f"are not its own; {SAVE}"
            )
        alike[training] = torch.equal(features[0], features[1])
    if alike[True]:
        raise WeightsError(
            "gives every image the same features: its weights are 0, or a layer lets nothing "
            f"through; {SAVE}"
        )
    said = "gives two images of noise the same features by its running statistics"
    return [said] if alike[False] else []


def _note_lost(first: list[str], name: str, layer: nn.Module, given: Any, made: Tensor) -> None:
    if not first and not bool(torch.isfinite(made).all()):
        first.append(name)


def _depth_of(state: dict[Any, Any]) -> int | None:
    """The depth whose network has a file's names and shapes; None for another network's."""
    for depth, (build, _) in DEPTHS.items():
        with torch.device("meta"):
            own = build().state_dict()
        if fits(state, own, "fc."):
            return depth
    return None


def _load_all_but_head(net: nn.Module, depth: int, path: Path, assign: bool = False) -> list[str]:
    """Copy every tensor but the head's; each must be there, sound and in its shape, and no other.

    Returns:
        Notes; see body_of.
    """
    try:
        state = read_state(path)
    except WeightsError as error:
        raise WeightsError(f"depth {depth}: {path} {error}") from error
    body, faults, notes = body_of(state, net.state_dict(), "fc.")
    if faults and (other := _depth_of(state)) not in (None, depth):
        raise WeightsError(
            f"depth {depth}: {path} does not fit ResNet-{depth}: it holds the weights of a "
            f"ResNet-{other}, which are for depth {other}; put a ResNet-{depth}'s there, such as "
            f"{weights_name(depth)}"
        )
    if faults:
        told = faults[0] if len(faults) == 1 else "\n  ".join([f"{len(faults)} faults", *faults])
        raise WeightsError(
            f"depth {depth}: {path} does not fit ResNet-{depth}: {told}\n  It must hold the state "
            f"dict of torchvision's resnet{depth}, as {weights_name(depth)} does"
        )
    net.load_state_dict(body, strict=False, assign=assign)
    return notes
