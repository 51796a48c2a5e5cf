"""How far two ways of adding up the same numbers may lie apart.

Kernels, threads, layouts and processors add in different orders. Of a sum of n products any order
errs by at most gamma_n = n u / (1 - n u) times the sum of the *absolute* products, u half the
type's epsilon (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., eq. 3.5 and, of
matrix products, 3.13). So the bound is relative to what was summed and not to what came out: where
terms cancel, an element may be as wrong as its neighbours that are a million times larger.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

# addends of the largest sums in a ResNet on the small images of these tests: 512 channels of 3x3
# taps, or, in a gradient, the pixels of a batch
TERMS = 512 * 9

# both sides err, which makes two; ten times that, since the bound for each element is that of
# plain sums, and Winograd's way of convolving keeps to it only with a factor (Higham, ch. 23)
SLACK = 20


def gamma(terms: int, dtype: torch.dtype) -> float:
    """Higham's gamma_n: the relative error that a sum of so many products may have."""
    nu = terms * torch.finfo(dtype).eps / 2
    assert nu < 0.5, "so many terms in this type could come to anything"
    return nu / (1 - nu)


def share_of_bound(
    found: Any,
    expected: Any,
    terms: int,
    size: Any = None,
    moved: Any = 0.0,
    dtype: torch.dtype | None = None,
) -> float:
    """The largest difference as a share of what rounding alone may make of it.

    The bound is SLACK times gamma_n times `size`, and `moved` is added. Where nothing may differ
    (the bound is zero), any difference is infinitely much; NaN stays NaN.

    Args:
        found: a tensor or a number.
        expected: of the same shape, by another order of adding, or exact.
        terms: how many addends the longest sum has.
        size: what was summed: for each element the sum of its absolute terms, where it can be had
            (the same sum over absolute values), or one number; without it, the largest element.
        moved: what rounding in earlier layers may add; see `moves`.
        dtype: the narrower type of the two computations, where `expected` does not have it.
    """
    mine, theirs = _in_double(found), _in_double(expected)
    assert mine.shape == theirs.shape
    kind = dtype or (expected.dtype if isinstance(expected, Tensor) else torch.double)
    summed = theirs.abs().max() if size is None else _in_double(size)
    bound = SLACK * gamma(terms, kind) * summed + _in_double(moved)
    share = (mine - theirs).abs() / bound
    return float(torch.where(mine == theirs, 0.0, share).max())  # also 0 / 0


def _in_double(held: Any) -> Tensor:
    if isinstance(held, Tensor):
        return held.detach().cpu().double()
    return torch.tensor(held, dtype=torch.double)


def assert_same_sums(
    found: Any,
    expected: Any,
    terms: int,
    size: Any = None,
    moved: Any = 0.0,
    dtype: torch.dtype | None = None,
    name: str = "",
) -> None:
    """Fail where `found` differs from `expected` by more than an order of adding can explain.

    See `share_of_bound` for the arguments; `name` is told.
    """
    share = share_of_bound(found, expected, terms, size, moved, dtype)
    assert share <= 1, f"{name or 'it'} differs by {share:.3g} times what rounding may"


def nudge(tensors: Mapping[str, Tensor] | list[Tensor], terms: int, dtype: torch.dtype) -> None:
    """Change every element, in place, by a random part of up to 2 gamma_n, the same each time."""
    draw = torch.Generator().manual_seed(0)
    held = list(tensors.values()) if isinstance(tensors, Mapping) else tensors
    with torch.no_grad():
        for tensor in held:
            noise = torch.rand(tensor.shape, generator=draw, dtype=torch.double) * 2 - 1
            tensor.mul_((1 + 2 * gamma(terms, dtype) * noise).to(tensor))


def moves(
    run: Callable[[nn.Module], Mapping[str, Any]],
    net: nn.Module,
    expected: Mapping[str, Any],
    terms: int,
    dtype: torch.dtype | None = None,
) -> dict[str, float]:
    """How far each result of a whole network moves when its weights move as rounding moves them.

    A layer's rounded output is the exact one of weights that differ by at most gamma_n of
    themselves (Higham, eq. 3.11). What the layers after it make of that is the network's own
    doing, and no constant by depth holds it: BatchNorm over few values multiplies it. At depth 50,
    four images and maps of one pixel, gradients moved 22,600 times as far as the weights, with 16
    images 490 times, at depth 18 with the stem for small images 13 times. So it is looked up: the
    weights are changed at random by up to 2 gamma_n and the results taken again. Rounding is about
    sqrt(n) u where gamma_n is n u, which leaves a margin of about sqrt(n), 68 for TERMS.

    A bias in front of a BatchNorm moves nothing and its gradient is 0 but for rounding: for
    gradients, let `size` be the largest of the whole network, of which a layer's are sums too.

    Args:
        run: gives results by name; may change the network.
        net: a fresh one, as `expected` began with; it is changed.
        expected: what `run` gave.
        terms: addends of the longest sum of a layer.
        dtype: the type that rounding happens in, where it is not the weights' own.

    Returns:
        The largest move of each result.
    """
    nudge(list(net.parameters()), terms, dtype or next(net.parameters()).dtype)
    moved = run(net)
    return {
        name: float((_in_double(moved[name]) - _in_double(value)).abs().max())
        for name, value in expected.items()
        if value is not None
    }
