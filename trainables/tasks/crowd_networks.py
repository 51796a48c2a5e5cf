"""Networks of the crowd task: the report's head, an output a pixel, and one that keeps place."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.dense import map_net
from trainables.networks import RESNET, build
from trainables.resnet import backbone
from trainables.task import Config

HIDDEN = (128, 64)  # channels of the small decoder
LEAST = 1e-6  # mean of a map whose outputs can start there


class DensityHead(nn.Module):
    """Linear layer of size*size outputs, reshaped to a map `(batch, size, size)`, ReLU on it."""

    def __init__(self, features: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.linear = nn.Linear(features, size * size)

    def forward(self, pooled: Tensor) -> Tensor:
        """`(batch, features)` to `(batch, size, size)`, not negative."""
        return torch.relu(self.linear(pooled)).view(-1, self.size, self.size)


class DensityMap(nn.Module):
    """The same of outputs that another network has made."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, outputs: Tensor) -> Tensor:
        """`(batch, size * size)` to `(batch, size, size)`, not negative."""
        return torch.relu(outputs).view(-1, self.size, self.size)


class Decoder(nn.Module):
    """Two 3x3 convolutions and a 1x1 one to a map, with what keeps it from being negative.

    Args:
        channels: of what comes in.
        output: "softplus", "relu" or "none".
    """

    def __init__(self, channels: int, output: str) -> None:
        super().__init__()
        first, second = HIDDEN
        self.hidden = nn.Sequential(
            nn.Conv2d(channels, first, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(first, second, 3, padding=1),
            nn.ReLU(),
        )
        self.last = nn.Conv2d(second, 1, 1)
        self.output = output
        for layer in self.hidden:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, channels, h, w)` to `(batch, h, w)`."""
        made = self.last(self.hidden(x))[:, 0]
        if self.output == "softplus":
            return F.softplus(made)
        return torch.relu(made) if self.output == "relu" else made

    @torch.no_grad()
    def start_at(self, mean: float) -> None:
        """Answer `mean` everywhere, for whatever image, until the first step.

        Weights of zero are no dead start: the bias and they have gradients, and so has all that
        comes before once they have moved.
        """
        mean = max(mean, LEAST)
        bias = mean + math.log(-math.expm1(-mean)) if self.output == "softplus" else mean
        self.last.weight.zero_()
        self.last.bias.fill_(bias)  # type: ignore[union-attr]


def network(config: Config, weights: Path | None) -> nn.Module:
    """The config's network: a map of the crop's size, or of any image's over the stride."""
    if config["head"] == "conv":
        return _conv(config, weights)
    size = config["crop"]
    if config["network"] != RESNET:
        return nn.Sequential(build(config, size * size), DensityMap(size))
    net: nn.Module = backbone(
        config["depth"], lambda n: DensityHead(n, size), config["stem"], weights
    )
    return net


def _conv(config: Config, weights: Path | None) -> nn.Module:
    return map_net(
        config["depth"],
        lambda channels: Decoder(channels, config["output"]),
        config["stride"],
        config["last_layer"],
        norm_of(config),
        weights,
    )


def norm_of(config: Config) -> Any:
    """What "auto" means: statistics of pretrained weights stay, others are trained."""
    chosen = config["norm"]
    if chosen != "auto":
        return chosen
    return "frozen" if config["pretrained"] else "trained"
