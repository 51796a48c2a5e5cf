"""The kernels of fused_norm.py, in Triton: maps are a matrix of pixels by channels.

A program has a tile of it. Where a tile holds whole columns one kernel does all; else a first one
leaves each part's statistics (mean and squared deviations, merged by Chan, Golub and LeVeque's
formula, 1979) or sums, and a second one merges them in every program and goes on.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _tile(block, total, channels, ROWS: tl.constexpr, COLS: tl.constexpr):
    """A program's channels and whether they exist; where its values are and whether they do."""
    columns = tl.program_id(0) * COLS + tl.arange(0, COLS)
    inside = columns < channels
    rows = block * ROWS + tl.arange(0, ROWS)
    here = (rows < total)[:, None] & inside[None, :]
    return columns, inside, rows[:, None] * channels + columns[None, :], here


@triton.jit
def _parts(parts, channels, columns, inside, PARTS: tl.constexpr):
    """Numbers of the parts, where they left their statistics of these columns, which exist."""
    part = tl.arange(0, PARTS)
    known = (part < parts)[:, None] & inside[None, :]
    return part, part[:, None] * channels + columns[None, :], known


@triton.jit
def _cut(y, RELU: tl.constexpr):
    """The ReLU; a maximum would make 0 of NaN."""
    if RELU:
        y = tl.where(y < 0, 0.0, y)
    return y


@triton.jit
def _behind_relu(dy_ptr, y_ptr, at, here, RELU: tl.constexpr):
    """The gradient of what went into the ReLU."""
    dy = tl.load(dy_ptr + at, mask=here, other=0.0).to(tl.float32)
    if RELU:
        dy = tl.where(tl.load(y_ptr + at, mask=here, other=0.0) <= 0, 0.0, dy)
    return dy


@triton.jit
def _normalised(x_ptr, mean_ptr, scale_ptr, columns, inside, at, here):
    """The maps as the forward pass normalised them, and the scale that it did it with."""
    x = tl.load(x_ptr + at, mask=here, other=0.0).to(tl.float32)
    mean = tl.load(mean_ptr + columns, mask=inside, other=0.0)
    scale = tl.load(scale_ptr + columns, mask=inside, other=0.0)
    return (x - mean[None, :]) * scale[None, :], scale


@triton.jit
def _through_norm(dy, x, plain, weighted, scale, weight, total):
    """The gradient of what was normalised: dy but for its mean and its share along x."""
    dx = dy - (plain / total)[None, :] - x * (weighted / total)[None, :]
    return dx * (weight * scale)[None, :]


@triton.jit
def _remember(
    mean,
    squares,
    scale,
    total,
    momentum,
    columns,
    inside,
    mean_ptr,
    scale_ptr,
    running_mean_ptr,
    running_var_ptr,
):
    """Keep a column's statistics for the backward pass, and move the running ones."""
    tl.store(mean_ptr + columns, mean, mask=inside)
    tl.store(scale_ptr + columns, scale, mask=inside)
    was = tl.load(running_mean_ptr + columns, mask=inside)
    tl.store(running_mean_ptr + columns, was + momentum * (mean - was), mask=inside)
    was = tl.load(running_var_ptr + columns, mask=inside)
    tl.store(
        running_var_ptr + columns, was + momentum * (squares / (total - 1) - was), mask=inside
    )


@triton.jit
def forward_whole(
    x_ptr,
    other_ptr,
    y_ptr,
    weight_ptr,
    bias_ptr,
    mean_ptr,
    scale_ptr,
    running_mean_ptr,
    running_var_ptr,
    total,
    channels,
    eps,
    momentum,
    ADDED: tl.constexpr,
    RELU: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
):
    """Output of columns that a tile holds whole; keeps mean and scale for the backward pass."""
    columns, inside, at, here = _tile(0, total, channels, ROWS, COLS)
    x = tl.load(x_ptr + at, mask=here, other=0.0).to(tl.float32)
    if ADDED:
        other = tl.load(other_ptr + at, mask=here, other=0.0).to(tl.float32)
    weight = tl.load(weight_ptr + columns, mask=inside)
    bias = tl.load(bias_ptr + columns, mask=inside)
    mean = tl.sum(x, 0) / total
    off = tl.where(here, x - mean[None, :], 0.0)
    squares = tl.sum(off * off, 0)
    scale = 1 / tl.sqrt(squares / total + eps)
    y = off * (scale * weight)[None, :] + bias[None, :]
    if ADDED:
        y += other
    tl.store(y_ptr + at, _cut(y, RELU), mask=here)
    _remember(
        mean,
        squares,
        scale,
        total,
        momentum,
        columns,
        inside,
        mean_ptr,
        scale_ptr,
        running_mean_ptr,
        running_var_ptr,
    )


@triton.jit
def backward_whole(
    dy_ptr,
    y_ptr,
    x_ptr,
    dx_ptr,
    other_ptr,
    weight_ptr,
    mean_ptr,
    scale_ptr,
    dweight_ptr,
    dbias_ptr,
    total,
    channels,
    ADDED: tl.constexpr,
    RELU: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
):
    """Gradients of columns that a tile holds whole."""
    columns, inside, at, here = _tile(0, total, channels, ROWS, COLS)
    dy = _behind_relu(dy_ptr, y_ptr, at, here, RELU)
    x, scale = _normalised(x_ptr, mean_ptr, scale_ptr, columns, inside, at, here)
    weight = tl.load(weight_ptr + columns, mask=inside, other=0.0)
    if ADDED:
        tl.store(other_ptr + at, dy, mask=here)
    plain = tl.sum(dy, 0)
    weighted = tl.sum(tl.where(here, dy * x, 0.0), 0)
    dx = _through_norm(dy, x, plain, weighted, scale, weight, total)
    tl.store(dx_ptr + at, dx, mask=here)
    tl.store(dbias_ptr + columns, plain, mask=inside)
    tl.store(dweight_ptr + columns, weighted, mask=inside)


@triton.jit
def moments(x_ptr, mean_ptr, squares_ptr, total, channels, ROWS: tl.constexpr, COLS: tl.constexpr):
    """Mean, and sum of squared deviations from it, of each column over one part of the rows."""
    part = tl.program_id(1)
    columns, inside, at, here = _tile(part, total, channels, ROWS, COLS)
    x = tl.load(x_ptr + at, mask=here, other=0.0).to(tl.float32)
    mean = tl.sum(x, 0) / tl.minimum(total - part * ROWS, ROWS)
    off = tl.where(here, x - mean[None, :], 0.0)
    tl.store(mean_ptr + part * channels + columns, mean, mask=inside)
    tl.store(squares_ptr + part * channels + columns, tl.sum(off * off, 0), mask=inside)


@triton.jit
def forward_parts(
    x_ptr,
    other_ptr,
    y_ptr,
    weight_ptr,
    bias_ptr,
    mean_ptr,
    scale_ptr,
    running_mean_ptr,
    running_var_ptr,
    part_mean_ptr,
    part_squares_ptr,
    parts,
    total,
    channels,
    eps,
    momentum,
    ADDED: tl.constexpr,
    RELU: tl.constexpr,
    PARTS: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
):
    """Output of one tile, from the statistics that `moments` left of every part."""
    block = tl.program_id(1)
    columns, inside, at, here = _tile(block, total, channels, ROWS, COLS)
    x = tl.load(x_ptr + at, mask=here, other=0.0).to(tl.float32)
    part, place, known = _parts(parts, channels, columns, inside, PARTS)
    means = tl.load(part_mean_ptr + place, mask=known, other=0.0)
    apart = tl.load(part_squares_ptr + place, mask=known, other=0.0)
    count = tl.where(part < parts, tl.minimum(total - part * ROWS, ROWS), 0)
    count = count.to(tl.float32)[:, None]
    mean = tl.sum(means * count, 0) / total
    off = means - mean[None, :]
    squares = tl.sum(apart + off * off * count, 0)
    scale = 1 / tl.sqrt(squares / total + eps)
    if block == 0:
        _remember(
            mean,
            squares,
            scale,
            total,
            momentum,
            columns,
            inside,
            mean_ptr,
            scale_ptr,
            running_mean_ptr,
            running_var_ptr,
        )
    weight = tl.load(weight_ptr + columns, mask=inside)
    bias = tl.load(bias_ptr + columns, mask=inside)
    y = (x - mean[None, :]) * (scale * weight)[None, :] + bias[None, :]
    if ADDED:
        y += tl.load(other_ptr + at, mask=here, other=0.0).to(tl.float32)
    tl.store(y_ptr + at, _cut(y, RELU), mask=here)


@triton.jit
def sums(
    dy_ptr,
    y_ptr,
    x_ptr,
    mean_ptr,
    scale_ptr,
    plain_ptr,
    weighted_ptr,
    total,
    channels,
    RELU: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
):
    """Sums of dy, and of dy times the normalised x, of each column over one part of the rows."""
    part = tl.program_id(1)
    columns, inside, at, here = _tile(part, total, channels, ROWS, COLS)
    dy = _behind_relu(dy_ptr, y_ptr, at, here, RELU)
    x, _ = _normalised(x_ptr, mean_ptr, scale_ptr, columns, inside, at, here)
    tl.store(plain_ptr + part * channels + columns, tl.sum(dy, 0), mask=inside)
    weighted = tl.sum(tl.where(here, dy * x, 0.0), 0)
    tl.store(weighted_ptr + part * channels + columns, weighted, mask=inside)


@triton.jit
def backward_parts(
    dy_ptr,
    y_ptr,
    x_ptr,
    dx_ptr,
    other_ptr,
    weight_ptr,
    mean_ptr,
    scale_ptr,
    dweight_ptr,
    dbias_ptr,
    part_plain_ptr,
    part_weighted_ptr,
    parts,
    total,
    channels,
    ADDED: tl.constexpr,
    RELU: tl.constexpr,
    PARTS: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
):
    """Gradients of one tile, from the sums that `sums` left of every part."""
    block = tl.program_id(1)
    columns, inside, at, here = _tile(block, total, channels, ROWS, COLS)
    dy = _behind_relu(dy_ptr, y_ptr, at, here, RELU)
    x, scale = _normalised(x_ptr, mean_ptr, scale_ptr, columns, inside, at, here)
    _, place, known = _parts(parts, channels, columns, inside, PARTS)
    plain = tl.sum(tl.load(part_plain_ptr + place, mask=known, other=0.0), 0)
    weighted = tl.sum(tl.load(part_weighted_ptr + place, mask=known, other=0.0), 0)
    weight = tl.load(weight_ptr + columns, mask=inside, other=0.0)
    if block == 0:
        tl.store(dbias_ptr + columns, plain, mask=inside)
        tl.store(dweight_ptr + columns, weighted, mask=inside)
    if ADDED:
        tl.store(other_ptr + at, dy, mask=here)
    dx = _through_norm(dy, x, plain, weighted, scale, weight, total)
    tl.store(dx_ptr + at, dx, mask=here)


KERNELS = (
    forward_whole,
    backward_whole,
    moments,
    forward_parts,
    sums,
    backward_parts,
)
