from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from tests.rounding import TERMS, assert_same_sums, moves, share_of_bound
from trainables.kernels.small_maps import SmallMapConv, skip_padding, windows
from trainables.resnet import DEPTHS, backbone

pytestmark = pytest.mark.long

SIDE = 32


def double(module: nn.Module) -> nn.Module:
    return module.double()


@given(
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(0, 4),
    st.integers(1, 6),
    st.integers(1, 6),
)
@example(2, 4, 3, 2, 2)  # an output that sees nothing but padding
@settings(max_examples=200, deadline=None)
def test_a_cut_convolution_is_the_stock_one_in_output_and_gradients(
    kernel, stride, padding, height, width
):
    if min(height, width) + 2 * padding < kernel:
        return  # torch refuses it too
    torch.manual_seed(0)
    stock = double(nn.Conv2d(3, 4, kernel, stride, padding, bias=False))
    outputs = [(side + 2 * padding - kernel) // stride + 1 for side in (height, width)]
    starts = [[i * stride - padding for i in range(n)] for n in outputs]
    if any(
        all(s + kernel <= 0 or s >= side for s in held)
        for held, side in zip(starts, (height, width), strict=True)
    ):
        return  # sees nothing but padding
    cut = SmallMapConv(stock, height, width)
    x = torch.randn(2, 3, height, width, dtype=torch.double)
    mine, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    out, expected = cut(mine), stock(theirs)
    gradient = torch.randn_like(expected)
    out.backward(gradient)
    expected.backward(gradient)
    # what each element sums up, term by term without its sign
    sizes = copy.deepcopy(stock)
    sizes.weight.grad = None
    with torch.no_grad():
        sizes.weight.abs_()
    of_input = x.abs().requires_grad_()
    of_output = sizes(of_input)
    of_output.backward(gradient.abs())
    terms = max(4 * kernel**2, 2 * height * width)  # channels times taps, images times pixels
    assert_same_sums(out, expected, terms, of_output)
    assert_same_sums(mine.grad, theirs.grad, terms, of_input.grad)
    rows, columns = cut.taps
    kept = (slice(None), slice(None), rows, columns)
    assert_same_sums(cut.weight.grad, stock.weight.grad[kept], terms, sizes.weight.grad[kept])
    dead = stock.weight.grad.clone()
    dead[:, :, rows, columns] = 0
    assert not dead.any()  # what is left out had no gradient


def test_windows_of_a_one_pixel_map_are_the_middle_tap():
    conv = nn.Conv2d(1, 1, 3, padding=1)
    middle, all_but_first = slice(1, 2), slice(1, 3)
    assert windows(conv, 1, 1) == ([(middle, slice(0, 1))],) * 2
    two = nn.Conv2d(1, 1, 3, stride=2, padding=1)
    assert windows(two, 2, 2) == ([(all_but_first, slice(0, 2))],) * 2
    assert windows(conv, 2, 1)[0] == [(all_but_first, slice(0, 2)), (slice(0, 2), slice(0, 2))]


@pytest.mark.timeout(180)  # depth 152, three times, in double precision
@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
@pytest.mark.parametrize("depth", DEPTHS)
def test_every_depth_computes_the_same_and_has_the_same_gradients(depth, stem):
    """Training mode, double precision; maps of one pixel come with the stock stem only."""
    torch.manual_seed(0)
    stock = double(backbone(depth, lambda n: nn.Linear(n, 10), stem))
    cut = copy.deepcopy(stock)
    skipped = skip_padding(cut, SIDE, SIDE)
    share = skipped / sum(p.numel() for p in stock.parameters())
    # 62, 52, 23, 13 and 9 % of the stock stem's parameters see padding alone
    expected = {18: 0.62, 34: 0.52, 50: 0.23, 101: 0.13, 152: 0.09}
    assert share == pytest.approx(expected[depth] if stem == "imagenet" else 0, abs=0.006)
    # BatchNorm over a pair of one-pixel maps is a sign, which rounding turns
    count = 16 if stem == "imagenet" else 2
    x = torch.randn(count, 3, SIDE, SIDE, dtype=torch.double)
    target = torch.arange(count) % 10

    def step(net):
        out = net(x)
        nn.functional.cross_entropy(out, target).backward()
        gradients = {name: held.grad for name, held in net.named_parameters()}
        return {"out": out.detach(), **gradients}

    nudged = copy.deepcopy(stock)
    found, expected = step(cut), step(stock)
    moved = moves(step, nudged, expected, TERMS)
    for name, value in found.items():
        module = cut.get_submodule(name.rpartition(".")[0])
        whole = expected[name]
        if isinstance(module, SmallMapConv):
            whole = whole[:, :, module.taps[0], module.taps[1]]
        assert_same_sums(value, whole, TERMS, moved=moved[name], name=name)


@pytest.mark.parametrize("weight_decay", [0.0, 5e-4])
def test_steps_of_sgd_leave_the_same_network(weight_decay):
    """The taps at rest stay as they were; weight decay, which changes no output, spares them."""
    torch.manual_seed(0)
    stock = double(backbone(18, lambda n: nn.Linear(n, 10)))
    cut = copy.deepcopy(stock)
    skip_padding(cut, SIDE, SIDE)
    torch.manual_seed(1)
    batches = torch.randn(3, 4, 3, SIDE, SIDE, dtype=torch.double)

    def trained(net):
        optimizer = torch.optim.SGD(
            net.parameters(), lr=0.05, momentum=0.9, weight_decay=weight_decay
        )
        for x in batches:
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), torch.tensor([0, 1, 2, 3])).backward()
            optimizer.step()
        with torch.no_grad():
            return {"out": net.eval()(batches[0]), **net.state_dict()}

    nudged = copy.deepcopy(stock)
    found, expected = trained(cut), trained(stock)
    moved = moves(trained, nudged, expected, TERMS)
    used = {
        name: share_of_bound(found[name], value, TERMS, moved=moved[name])
        for name, value in expected.items()
        if value.is_floating_point()
    }
    assert used["out"] <= 1
    rest = {name for name, share in used.items() if not share <= 1}
    assert all(name.startswith("layer4") for name in rest)
    assert bool(rest) == bool(weight_decay)


def test_a_checkpoint_loads_into_the_stock_network_and_back():
    torch.manual_seed(0)
    stock = double(backbone(18, lambda n: nn.Linear(n, 10)))
    before = {name: value.clone() for name, value in stock.state_dict().items()}
    cut = copy.deepcopy(stock)
    skip_padding(cut, SIDE, SIDE)
    held = cut.state_dict()
    assert list(held) == list(before)
    assert all(torch.equal(held[name], before[name]) for name in before)
    with torch.no_grad():
        for parameter in cut.parameters():
            parameter.add_(1)
    fresh = double(backbone(18, lambda n: nn.Linear(n, 10)))
    fresh.load_state_dict(cut.state_dict())
    x = torch.randn(2, 3, SIDE, SIDE, dtype=torch.double)

    def run(net):
        return {"out": net.eval()(x).detach()}

    found, expected = run(cut), run(fresh)
    moved = moves(run, copy.deepcopy(fresh), expected, TERMS)
    assert_same_sums(found["out"], expected["out"], TERMS, moved=moved["out"])
    again = copy.deepcopy(cut)
    again.load_state_dict(before)
    assert all(torch.equal(value, before[name]) for name, value in again.state_dict().items())


def test_a_checkpoint_of_another_network_is_refused_by_name():
    cut = backbone(18, lambda n: nn.Linear(n, 10))
    skip_padding(cut, SIDE, SIDE)
    held = cut.state_dict()
    name = "layer4.1.conv1.weight"
    with pytest.raises(RuntimeError, match=name):
        cut.load_state_dict({key: value for key, value in held.items() if key != name})
    with pytest.raises(RuntimeError, match=name):
        cut.load_state_dict({**held, name: held[name][:, :, :1]})
