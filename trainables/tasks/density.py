"""Head points to density maps whose sum is the number of heads.

Two kernels: "gaussian", normalised at each head over the part of it that lies inside the map, and
"disc", the report's own: the Gaussian cut where its density falls below 3e-4 a pixel, cut again at
the border, and the whole map rescaled to the number of heads. For sigma 15 the disc has a radius
of 19 px and keeps 58 % of the Gaussian's mass.

Two more, which need no pixels and so no rounding of places: "adaptive", a Gaussian whose width
follows the distance to the next heads (MCNN, Zhang et al. 2016), and "dots", all of a head in the
cell that it lies in.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor

Kernel = Literal["gaussian", "disc", "adaptive", "dots"]
ADAPTIVE = (3, 0.3)  # neighbours, and factor of their mean distance, of MCNN
LEAST_SIGMA = 1.0  # px, of heads at one place
DISC_CUT = 3e-4  # density below which the report's kernel is zero


def density_map(
    points: Tensor,
    height: int,
    width: int,
    sigma: float,
    kernel: str = "gaussian",
    weight: float = 1.0,
) -> Tensor:
    """Density map of head points.

    Args:
        points: `(heads, 2)`, x then y, in pixels; pixel centres are whole numbers from 0. A point
            outside the map counts at the nearest border pixel.
        height: rows of the map.
        width: columns of the map.
        sigma: of the Gaussian, in pixels.
        kernel: "gaussian" or "disc".
        weight: of a head.

    Returns:
        `(height, width)` float32, not negative, summing to the number of heads, each of that
        weight, up to rounding.
    """
    columns = points[:, 0].round().long().clamp(0, width - 1)
    rows = points[:, 1].round().long().clamp(0, height - 1)
    if kernel == "disc":
        return _stamp_discs(rows, columns, height, width, sigma, weight)
    # a Gaussian is separable, so the sum over heads is one matrix product
    down = _edge_kernels(height, sigma, points.device)[rows].mul_(weight)
    across = _edge_kernels(width, sigma, points.device)[columns]
    return down.T @ across


def cell_density(
    points: Tensor, height: int, width: int, stride: int = 1, sigma: float | Tensor = 0.0
) -> Tensor:
    """Heads in each cell of an image, each head a Gaussian of mass one inside the image.

    The integral of a Gaussian over a cell is a product of two differences of its distribution
    function, so that a map is one product of matrices, exact at whatever stride and at borders.

    Args:
        points: `(heads, 2)`, x then y, in pixels; pixel centres are whole numbers from 0. A point
            outside counts at the nearest border.
        height: of the image, px.
        width: of the image, px.
        stride: side of a cell, px; cells at the far borders may be cut.
        sigma: in pixels, one or `(heads,)`; 0 puts a head into its cell.

    Returns:
        `(ceil(height / stride), ceil(width / stride))` float32, summing to the number of heads.
    """
    down = _shares(points[:, 1], height, stride, sigma)
    across = _shares(points[:, 0], width, stride, sigma)
    return (down.T @ across).float()


def _shares(at: Tensor, length: int, stride: int, sigma: float | Tensor) -> Tensor:
    """Share of each head in each cell of one axis, `(heads, cells)` float64, rows sum to one."""
    at = (at.double() + 0.5).clamp(0, length)  # as a distance from the border
    cells = -(-length // stride)
    if not isinstance(sigma, Tensor) and sigma == 0:
        cell = (at / stride).long().clamp(max=cells - 1)
        held: Tensor = torch.nn.functional.one_hot(cell, cells).double()
        return held
    edges = torch.arange(cells + 1, device=at.device, dtype=torch.float64) * stride
    edges.clamp_(max=length)
    wide = sigma.double()[:, None] if isinstance(sigma, Tensor) else sigma
    below = torch.special.ndtr((edges - at[:, None]) / wide)
    shares: Tensor = below.diff(dim=1) / (below[:, -1:] - below[:, :1])
    return shares


def adaptive_sigmas(points: Tensor, alone: float) -> Tensor:
    """Widths of geometry-adaptive Gaussians: a share of the mean distance to the next heads.

    Args:
        points: `(heads, 2)`, px, on the CPU.
        alone: width where a head has no other, px.

    Returns:
        `(heads,)` float32, px, at least LEAST_SIGMA.
    """
    neighbours, factor = ADAPTIVE
    count = min(neighbours, len(points) - 1)
    if count < 1:
        return torch.full((len(points),), float(alone))
    from scipy.spatial import cKDTree  # not at each start of the program: few studies need it

    found: Any = cKDTree(points.numpy()).query(points.numpy(), k=count + 1)[0]
    return torch.from_numpy(factor * found[:, 1:].mean(1)).float().clamp(min=LEAST_SIGMA)


@lru_cache(maxsize=8)
def _edge_kernels(length: int, sigma: float, device: torch.device) -> Tensor:
    """`(length, length)`: row i is a 1-D Gaussian at i, summing to one inside the map."""
    at = torch.arange(length, dtype=torch.float64)
    weights = torch.exp(-((at[:, None] - at[None, :]) ** 2) / (2 * sigma**2))
    return (weights / weights.sum(1, keepdim=True)).to(device, torch.float32)


@lru_cache(maxsize=8)
def _disc(sigma: float, device: torch.device) -> Tensor:
    """`(side, side)`: the report's kernel, normalised to one."""
    peak = 1 / (2 * math.pi * sigma**2)
    radius = (
        int(math.sqrt(max(2 * sigma**2 * math.log(peak / DISC_CUT), 0))) if peak > DISC_CUT else 0
    )
    at = torch.arange(-radius, radius + 1, dtype=torch.float64)
    square = at[:, None] ** 2 + at[None, :] ** 2
    values = peak * torch.exp(-square / (2 * sigma**2))
    values[values < DISC_CUT] = 0
    values[radius, radius] = peak  # a kernel wider than the cut allows is a single dot
    return (values / values.sum()).to(device, torch.float32)


def _stamp_discs(
    rows: Tensor, columns: Tensor, height: int, width: int, sigma: float, weight: float
) -> Tensor:
    disc = _disc(sigma, rows.device)
    side, radius = disc.shape[0], disc.shape[0] // 2
    padded = torch.zeros((height + 2 * radius) * (width + 2 * radius), device=rows.device)
    offset = torch.arange(side, device=rows.device)
    index = (rows[:, None, None] + offset[:, None]) * (width + 2 * radius) + (
        columns[:, None, None] + offset
    )
    padded.index_add_(0, index.flatten(), disc.flatten().repeat(len(rows)))
    inside = padded.view(height + 2 * radius, -1)[
        radius : radius + height, radius : radius + width
    ]
    return inside * (weight * len(rows) / inside.sum()) if len(rows) else inside
