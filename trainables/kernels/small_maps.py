"""Convolutions on maps of a few pixels without the multiplications by padding: the same function.

At 32x32 the last stage of the stock ResNet works on maps of one pixel, where eight of the nine
taps of a 3x3 kernel see nothing but padding. They are 62 % of depth 18's parameters: read, decayed
and written at every step, and of no effect on any output or on any other gradient. On a CPU,
convolution kernels are also far from their best on maps of 1x1 and 2x2, matrix products are not.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

FEW = 4  # output pixels up to which a CPU does one matrix product each

Window = tuple[slice, slice]  # of the kernel, and of the map, along one side


class SmallMapConv(nn.Module):
    """A convolution cut to the taps that see a pixel, for maps of one size.

    Its state dict is the stock layer's: the taps at rest are put back as they were when the layer
    was made or loaded. Weight decay, which in the stock layer shrinks them, passes them by.

    Args:
        conv: the stock layer, without bias, groups or dilation.
        height: of the maps that it gets.
        width: likewise.
    """

    stock: Tensor

    def __init__(self, conv: nn.Conv2d, height: int, width: int) -> None:
        super().__init__()
        self.rows, self.columns = windows(conv, height, width)
        self.taps = _live(self.rows), _live(self.columns)
        self.stride, self.pads = conv.stride, _pads(conv, self.taps, height, width)
        self.register_buffer("stock", conv.weight.detach().clone(), persistent=False)
        self.weight = nn.Parameter(self._cut(self.stock).clone(), conv.weight.requires_grad)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, in, height, width)` to what the stock layer returns."""
        return self.apply_to(x, self.weight)

    def apply_to(self, x: Tensor, weight: Tensor) -> Tensor:
        """`forward` with these live taps in place of its own."""
        outputs = len(self.rows) * len(self.columns)
        # a GPU is short of launches, not of arithmetic
        if outputs > (1 if x.is_cuda else FEW):
            x, padding = self.padded(x)
            return nn.functional.conv2d(x, weight, None, self.stride, padding)
        pixels, taps = x.permute(0, 2, 3, 1), weight.permute(0, 2, 3, 1)
        if outputs > 1 and taps.shape[1:3] == (1, 1) and self.stride == (1, 1):
            each: Tensor = nn.functional.linear(pixels, taps.flatten(1))
            return each.permute(0, 3, 1, 2)
        top, left = self.taps[0].start, self.taps[1].start
        seen = [
            nn.functional.linear(
                _part(pixels, rows, columns).flatten(1),
                _part(taps, _moved(down, top), _moved(across, left)).flatten(1),
            )
            for down, rows in self.rows
            for across, columns in self.columns
        ]
        stacked = torch.stack(seen, 1) if outputs > 1 else seen[0][:, None]
        return stacked.view(len(x), len(self.rows), len(self.columns), -1).permute(0, 3, 1, 2)

    def padded(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """The map, padded where its sides need it unequally, and the padding left for conv2d."""
        left, right, top, bottom = self.pads
        if left == right >= 0 and top == bottom >= 0:
            return x, (top, left)  # to pad apart takes two kernels and a copy
        return nn.functional.pad(x, self.pads), (0, 0)

    def _cut(self, weight: Tensor) -> Tensor:
        return weight[:, :, self.taps[0], self.taps[1]]

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        full = self.stock.clone()
        self._cut(full).copy_(self.weight.detach())
        destination[f"{prefix}weight"] = full

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        key = f"{prefix}weight"
        full = state_dict.get(key)
        if full is None:
            missing_keys.append(key)
        elif full.shape != self.stock.shape:
            error_msgs.append(f"{key}: shape {tuple(full.shape)}, not {tuple(self.stock.shape)}")
        else:
            with torch.no_grad():
                self.stock.copy_(full)
                self.weight.copy_(self._cut(full))


def windows(conv: nn.Conv2d, height: int, width: int) -> tuple[list[Window], list[Window]]:
    """For each row and column of outputs: the taps that see a pixel, and the pixels they see.

    Both are empty where an output sees nothing but padding.
    """
    sides = []
    for at, length in enumerate((height, width)):
        kernel, stride, padding = conv.kernel_size[at], conv.stride[at], int(conv.padding[at])
        starts = range(-padding, length + padding - kernel + 1, stride)
        firsts = [min(max(0, -start), kernel) for start in starts]
        lasts = [max(a, min(kernel, length - s)) for a, s in zip(firsts, starts, strict=True)]
        sides.append(
            [
                (slice(a, b), slice(max(0, s + a), max(0, s + b)))
                for a, b, s in zip(firsts, lasts, starts, strict=True)
            ]
        )
    return sides[0], sides[1]


def skip_padding(net: nn.Module, height: int, width: int) -> int:
    """Replace every convolution of `net` that has taps at rest or few outputs at this input size.

    Left as they are: those that are more than a plain nn.Conv2d, that the network uses at several
    sizes or under several names, or whose weight another module uses too.

    Args:
        net: takes `(batch, 3, height, width)`, and runs its layers at the same sizes in training.
        height: of the images, px.
        width: likewise.

    Returns:
        How many parameters are out of the way.
    """
    skipped = 0
    shared = _shared_weights(net)
    for name, sizes in _map_sizes(net, height, width).items():
        conv = net.get_submodule(name)
        assert isinstance(conv, nn.Conv2d)
        if len(sizes) > 1 or not _is_plain(conv) or conv.weight in shared:
            continue
        small = SmallMapConv(conv, *next(iter(sizes)))
        at_rest = conv.weight.numel() - small.weight.numel()
        if at_rest or len(small.rows) * len(small.columns) <= FEW:
            net.set_submodule(name, small)
            skipped += at_rest
    return skipped


def _is_plain(conv: nn.Conv2d) -> bool:
    """Whether it computes what SmallMapConv does: a subclass, a hook or a norm may do more."""
    hooks = conv._forward_hooks or conv._forward_pre_hooks or conv._backward_hooks
    own = type(conv) is nn.Conv2d and "forward" not in vars(conv) and not hooks
    return (
        own
        and "weight" in conv._parameters
        and conv.bias is None
        and (conv.groups, conv.dilation, conv.padding_mode) == (1, (1, 1), "zeros")
        and not isinstance(conv.padding, str)
    )


def _shared_weights(net: nn.Module) -> set[Tensor]:
    """Parameters that the network has under several names."""
    seen: set[Tensor] = set()
    named = net.named_parameters(remove_duplicate=False)
    return {p for _, p in named if p in seen or seen.add(p)}  # type: ignore[func-returns-value]


def _live(side: list[Window]) -> slice:
    """The taps that see a pixel at some output; they are neighbours."""
    seen = [taps for taps, _ in side if taps.stop > taps.start]
    return slice(min(taps.start for taps in seen), max(taps.stop for taps in seen))


def _part(maps: Tensor, rows: slice, columns: slice) -> Tensor:
    """A part of `(batch, height, width, channels)`; all of it without the copies of slices."""
    whole = slice(0, maps.shape[1]), slice(0, maps.shape[2])
    return maps if (rows, columns) == whole else maps[:, rows, columns]


def _moved(taps: slice, first: int) -> slice:
    return slice(max(0, taps.start - first), max(0, taps.stop - first))


def _pads(conv: nn.Conv2d, taps: Window, height: int, width: int) -> tuple[int, int, int, int]:
    """Left, right, top and bottom padding (cut where negative) that leaves the same outputs."""
    ends: list[int] = []
    for at, length in ((1, width), (0, height)):
        kernel, stride, padding = conv.kernel_size[at], conv.stride[at], int(conv.padding[at])
        outputs = (length + 2 * padding - kernel) // stride + 1
        before, live = padding - taps[at].start, taps[at].stop - taps[at].start
        ends += [before, (outputs - 1) * stride + live - before - length]
    return ends[0], ends[1], ends[2], ends[3]


def _map_sizes(net: nn.Module, height: int, width: int) -> dict[str, set[tuple[int, int]]]:
    """Name of each convolution -> heights and widths that it gets, by one pass in evaluation."""
    sizes: dict[str, set[tuple[int, int]]] = {}
    handles = []
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d):

            def see(_: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> None:
                size = int(inputs[0].shape[2]), int(inputs[0].shape[3])
                sizes.setdefault(name, set()).add(size)

            handles.append(module.register_forward_pre_hook(see))
    training, first = net.training, next(net.parameters())
    net.eval()
    with torch.no_grad():
        net(torch.zeros(1, 3, height, width, device=first.device, dtype=first.dtype))
    net.train(training)
    for handle in handles:
        handle.remove()
    return sizes
