"""The kernels of trainables/engine/arrays/update.py, in Triton: the update of all members.

What a tensor is made of is a row of a table of addresses, so one launch has all tensors of all
members, whatever their optimizers: a program takes a chunk of one of them. Formulas are those of
torch's fused optimizers, `clip_grad_norm_` and trainables/engine/average.py.
"""

from __future__ import annotations

import triton
import triton.language as tl

# columns of a tensor's row; addresses are 0 where there is none
WEIGHT = tl.constexpr(0)
GRADIENT = tl.constexpr(1)
FIRST = tl.constexpr(2)  # momentum, or Adam's first moment
SECOND = tl.constexpr(3)
STEPS = tl.constexpr(4)
RATE = tl.constexpr(5)
AVERAGE = tl.constexpr(6)
SIZE = tl.constexpr(7)
MEMBER = tl.constexpr(8)
KIND = tl.constexpr(9)
TENSOR = tl.constexpr(10)  # columns in all

NONE = tl.constexpr(0)  # kinds: a statistic, which is only averaged
SGD = tl.constexpr(1)
ADAM = tl.constexpr(2)
ADAMW = tl.constexpr(3)

# columns of a member's settings, in double precision; 0 where there is none
CLIP = tl.constexpr(0)
EMA = tl.constexpr(1)
DECAY = tl.constexpr(2)
BETA1 = tl.constexpr(3)  # momentum, of SGD
BETA2 = tl.constexpr(4)
EPS = tl.constexpr(5)
NESTEROV = tl.constexpr(6)
SETTINGS = tl.constexpr(7)

# of a member's extent: its chunks and tensors from and to, and the address of its average's steps
EXTENT = tl.constexpr(5)


@triton.jit
def _at(address, T: tl.constexpr):
    return address.to(tl.pointer_type(T))


@triton.jit
def _chunk(tensors, chunks, BLOCK: tl.constexpr):
    """A program's tensor and its row, its numbers within that, and which of them exist."""
    held = chunks + 2 * tl.program_id(0)
    tensor = tl.load(held)
    row = tensors + tensor * TENSOR
    at = tl.load(held + 1) + tl.arange(0, BLOCK)
    return tensor, row, at, at < tl.load(row + SIZE)


@triton.jit
def squares(tensors, chunks, settings, parts, BLOCK: tl.constexpr, T: tl.constexpr):
    """Leave the sum of squares of a chunk of a gradient that is clipped."""
    _, row, at, here = _chunk(tensors, chunks, BLOCK)
    gradient = tl.load(row + GRADIENT)
    clip = tl.load(settings + tl.load(row + MEMBER) * SETTINGS + CLIP)
    if (gradient != 0) & (clip != 0):
        held = tl.load(_at(gradient, T) + at, mask=here, other=0.0)
        tl.store(parts + tl.program_id(0), tl.sum(held * held))


@triton.jit
def prepare(
    tensors,
    extents,
    settings,
    parts,
    scales,
    moves,
    corrections,
    PIECE: tl.constexpr,
):
    """Of a member: the factor on its gradients, its average's move, Adam's counts and biases."""
    member = tl.program_id(0)
    own, extent = settings + member * SETTINGS, extents + member * EXTENT
    clip = tl.load(own + CLIP)
    if clip != 0:
        total = tl.zeros([PIECE], tl.float64)
        last = tl.load(extent + 1)
        for first in range(tl.load(extent), last, PIECE):
            at = first + tl.arange(0, PIECE)
            total += tl.load(parts + at, mask=at < last, other=0.0).to(tl.float64)
        factor = clip / (tl.sqrt(tl.sum(total)) + 1e-6)
        tl.store(scales + member, tl.where(factor > 1, 1.0, factor))  # NaN stays
    averaged = tl.load(extent + 4)
    if averaged != 0:
        steps = tl.load(_at(averaged, tl.float32)) + 1
        tl.store(_at(averaged, tl.float32), steps)
        stays = steps / (steps + 9)
        decay = tl.load(own + EMA).to(tl.float32)
        tl.store(moves + member, 1 - tl.where(stays > decay, decay, stays))
    beta2 = tl.load(own + BETA2)
    if beta2 != 0:
        log1, log2 = tl.log(tl.load(own + BETA1)), tl.log(beta2)
        last = tl.load(extent + 3)
        for first in range(tl.load(extent + 2), last, PIECE):
            at = first + tl.arange(0, PIECE)
            held = tl.load(tensors + at * TENSOR + STEPS, mask=at < last, other=0)
            known = held != 0
            steps = tl.load(_at(held, tl.float32), mask=known, other=1.0) + 1
            tl.store(_at(held, tl.float32), steps, mask=known)
            count = steps.to(tl.float64)
            tl.store(corrections + 2 * at, 1 - tl.exp(count * log1), mask=known)
            tl.store(corrections + 2 * at + 1, tl.sqrt(1 - tl.exp(count * log2)), mask=known)


@triton.jit
def _sgd(p, g, row, own, rate, at, here, T: tl.constexpr):
    held = tl.load(row + FIRST)
    if held != 0:
        momentum = tl.load(own + BETA1).to(T)
        first = momentum * tl.load(_at(held, T) + at, mask=here, other=0.0) + g
        tl.store(_at(held, T) + at, first, mask=here)
        if tl.load(own + NESTEROV) != 0:
            g += momentum * first
        else:
            g = first
    return p - rate * g


@triton.jit
def _adam(p, g, row, own, bias, rate, at, here, T: tl.constexpr):
    first_ptr = _at(tl.load(row + FIRST), T) + at
    second_ptr = _at(tl.load(row + SECOND), T) + at
    beta1, beta2 = tl.load(own + BETA1), tl.load(own + BETA2)
    first = beta1.to(T) * tl.load(first_ptr, mask=here, other=0.0) + (1 - beta1).to(T) * g
    second = beta2.to(T) * tl.load(second_ptr, mask=here, other=0.0) + (1 - beta2).to(T) * g * g
    tl.store(first_ptr, first, mask=here)
    tl.store(second_ptr, second, mask=here)
    below = tl.sqrt(second) / tl.load(bias + 1).to(T) + tl.load(own + EPS).to(T)
    return p - rate / tl.load(bias).to(T) * first / below


@triton.jit
def update(
    tensors,
    chunks,
    settings,
    scales,
    moves,
    corrections,
    BLOCK: tl.constexpr,
    T: tl.constexpr,
    RATES: tl.constexpr,
):
    """Move a chunk of weights by its gradient and its state, and its average after it."""
    tensor, row, at, here = _chunk(tensors, chunks, BLOCK)
    member, kind = tl.load(row + MEMBER), tl.load(row + KIND)
    p_ptr = _at(tl.load(row + WEIGHT), T) + at
    p = tl.load(p_ptr, mask=here, other=0.0)
    if kind != NONE:
        own = settings + member * SETTINGS
        g = tl.load(_at(tl.load(row + GRADIENT), T) + at, mask=here, other=0.0)
        if tl.load(own + CLIP) != 0:
            g *= tl.load(scales + member).to(T)
        rate = tl.load(_at(tl.load(row + RATE), RATES)).to(T)
        decay = tl.load(own + DECAY).to(T)
        if kind == ADAMW:
            p -= rate * decay * p
        elif decay != 0:
            g += decay * p
        if kind == SGD:
            p = _sgd(p, g, row, own, rate, at, here, T)
        else:
            p = _adam(p, g, row, own, corrections + 2 * tensor, rate, at, here, T)
        tl.store(p_ptr, p, mask=here)
    average = tl.load(row + AVERAGE)
    if average != 0:
        held = tl.load(_at(average, T) + at, mask=here, other=0.0)
        held += (p - held) * tl.load(moves + member).to(T)
        tl.store(_at(average, T) + at, held, mask=here)


KERNELS = (squares, prepare, update)
