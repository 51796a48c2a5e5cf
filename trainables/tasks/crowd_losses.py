"""Losses of the crowd task between maps, and between a map and the heads themselves.

Maps `(batch, h, w)` are in heads a cell, but for `mse` and `dice`, which take whatever scale.
"""

from __future__ import annotations

import torch
from torch import Tensor

BACKGROUND = 0.15  # of the crop's side: distance of the Bayesian loss's dummy background head
OT_WEIGHT, TV_WEIGHT = 0.1, 0.01  # of DM-Count
SHAPED = 1e-2  # heads of a map, in all, below which it has no shape to transport
OT_ROUNDS, OT_BLUR = 100, 10.0  # Sinkhorn's iterations and regularisation, px^2


def mse(output: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of the cells."""
    return torch.nn.functional.mse_loss(output, target)


def dice(output: Tensor, target: Tensor) -> Tensor:
    """Soft dice of Milletari et al. 2016, with squared denominators, mean over the batch.

    1 - (2 sum(p g) + 1) / (sum(p^2) + sum(g^2) + 1); the 1 keeps empty crops finite.
    """
    overlap = (output * target).flatten(1).sum(1)
    sizes = (output**2).flatten(1).sum(1) + (target**2).flatten(1).sum(1)
    return (1 - (2 * overlap + 1) / (sizes + 1)).mean()


def huber(output: Tensor, target: Tensor) -> Tensor:
    """Huber's loss of each cell, and the absolute error of the count, heads a cell.

    L = 1/m (sum_x H(z'(x) - z(x)) + | |z'| - |z| |) over the m cells x, mean over the batch, with
    |.| a map's sum, H(d) = d^2 / 2 up to a head and |d| - 1/2 beyond (Huber 1964); the count loss
    is DM-Count's first term. In sparse crops it is squared error, in dense ones absolute error, so
    that the few densest crops do not outweigh all others.

    Args:
        output: `(batch, h, w)`.
        target: the same.
    """
    cells = torch.nn.functional.smooth_l1_loss(output, target)
    counts = (output - target).flatten(1).mean(1).abs()
    return cells + counts.mean()


def bayesian(output: Tensor, heads: Tensor, stride: int) -> Tensor:
    """Bayesian loss of Ma et al. 2019, with its background, mean over the batch.

    L = sum_n |1 - E[c_n]| + |0 - E[c_0]|, with E[c_n] = sum_m p(y_n | x_m) D(x_m) over the cells
    m, of centre x_m and density D(x_m), and for the heads n at z_n

        p(y_n | x_m) = N(x_m; z_n, s^2) / (sum_k N(x_m; z_k, s^2) + N(x_m; z_0^m, s^2)).

    z_0^m, the background's dummy head, lies at distance d from the head nearest to x_m, on the ray
    through x_m, so that N(x_m; z_0^m, s^2) is of |d - |x_m - z_nearest||. d is BACKGROUND of the
    crop's side. Without heads all is background.

    Args:
        output: `(batch, h, w)`, heads a cell.
        heads: `(batch, most, 4)`: x, y, s in px of the crop, and 1 for a head, 0 for padding.
        stride: side of a cell, px.
    """
    with torch.no_grad():
        given = posterior(heads, output.shape[1], output.shape[2], stride)
    expected = torch.einsum("bnm,bm->bn", given, output.flatten(1))
    wanted = torch.cat([heads[..., 3], torch.zeros_like(heads[:, :1, 3])], 1)
    return (expected - wanted).abs().sum(1).mean()


def posterior(heads: Tensor, height: int, width: int, stride: int) -> Tensor:
    """p(y_n | x_m) of the Bayesian loss, `(batch, most + 1, cells)`; the background is last."""
    x, y, sigma, there = heads.unbind(2)
    rows, columns = _centres(height, stride, heads), _centres(width, stride, heads)
    square = (
        (rows[None, None, :, None] - y[..., None, None]) ** 2 + (columns - x[..., None, None]) ** 2
    ).flatten(2)
    square = square.masked_fill(there[..., None] == 0, torch.inf)
    nearest = square.amin(1, keepdim=True).sqrt()
    away = BACKGROUND * stride * max(height, width)
    background = (away - nearest) ** 2
    # no heads: the background's distance is infinite too, and it takes all
    background = background.masked_fill(torch.isinf(nearest), 0.0)
    wide = sigma.amax(1)[:, None, None].clamp(min=1e-6)  # one of a crop
    return torch.softmax(-torch.cat([square, background], 1) / (2 * wide**2), 1)


def _centres(cells: int, stride: int, like: Tensor) -> Tensor:
    """Middles of cells, in pixels whose centres are whole numbers from 0."""
    at = torch.arange(cells, device=like.device, dtype=like.dtype)
    return (at + 0.5) * stride - 0.5


def dm_count(output: Tensor, dots: Tensor, stride: int) -> Tensor:
    """DM-Count of Wang et al. 2020, mean over the batch.

    L = | |z| - |z'| | + 0.1 W(z / |z|, z' / |z'|) + 0.01 |z| TV(z / |z|, z' / |z'|)

    with the heads z and the prediction z' of each cell, |.| their sums, W the cost of optimal
    transport where moving from cell to cell costs the squared distance in px, TV half the sum of
    absolute differences. W is Sinkhorn's, entropy-regularised; its gradient by z' is, as in the
    paper, b / |z'| - <b, z'> / |z'|^2 with the dual potential b. Without heads, and where fewer
    than SHAPED are predicted in all, the count alone is compared: such a map has no shape, and the
    gradient no bound. The authors' code differs from the paper, and from this: its TV is without
    the half, 1e-8 is added to |z'|^2, and heads keep their places within their cells.

    Args:
        output: `(batch, h, w)`, heads a cell, not negative.
        dots: `(batch, h, w)`, annotated heads in each cell.
        stride: side of a cell, px.
    """
    total, wanted = output.flatten(1).sum(1), dots.flatten(1).sum(1)
    some = ((wanted > 0) & (total >= SHAPED)).float()
    shape, truth = _normed(output), _normed(dots)
    variation = 0.5 * (shape - truth).abs().flatten(1).sum(1)
    moved = transport(shape.detach(), truth, stride)
    # <b, z'/|z'|> has the gradient above; its value is that of the transport
    along = (moved[1] * shape).flatten(1).sum(1)
    carried = moved[0] + along - along.detach()
    terms = (total - wanted).abs() + some * (OT_WEIGHT * carried + TV_WEIGHT * wanted * variation)
    return terms.mean()


def _normed(maps: Tensor) -> Tensor:
    return maps / maps.flatten(1).sum(1).clamp(min=SHAPED)[:, None, None]


@torch.no_grad()
def transport(source: Tensor, target: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Entropic optimal transport between maps on one grid, by Sinkhorn's iterations on logarithms.

    The cost is a sum over the two axes, so that its kernel is applied axis by axis.

    Args:
        source: `(batch, h, w)`, each map of sum one.
        target: the same.
        stride: side of a cell, px.

    Returns:
        The dual objective `(batch,)` and the source's potential `(batch, h, w)`, px^2.
    """
    a, b = source.clamp(min=1e-16).log(), target.clamp(min=1e-16).log()
    down, across = (-_costs(side, stride, source) / OT_BLUR for side in source.shape[1:])
    f, g = torch.zeros_like(a), torch.zeros_like(a)
    for _ in range(OT_ROUNDS):
        g = -_smoothed(f + a, down, across)
        f = -_smoothed(g + b, down, across)
    f, g = OT_BLUR * f, OT_BLUR * g
    value = (f * source).flatten(1).sum(1) + (g * target).flatten(1).sum(1)
    return value, f


def _costs(cells: int, stride: int, like: Tensor) -> Tensor:
    at = _centres(cells, stride, like)
    return (at[:, None] - at[None, :]) ** 2


def _smoothed(held: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Log of sum_ij exp(held_ij + down_ki + across_lj), `(batch, k, l)`."""
    held = torch.logsumexp(held[:, :, None, :] + across, 3)
    return torch.logsumexp(held[:, None, :, :] + down[:, :, None], 2)
