"""Weights that no network could have come by are refused by tensor, before there is a trial."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from trainables.resnet import DEPTHS, WeightsError, backbone, check_weights, find_own_weights

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def trained() -> State:
    """A ResNet-18 that has seen a few batches, so that its running statistics are its own."""
    torch.manual_seed(5)
    net = models.resnet18().train()
    with torch.no_grad():
        for _ in range(3):
            net(torch.randn(4, 3, 64, 64))
    return net.state_dict()


@pytest.fixture
def state(trained: State) -> State:
    return {key: value.clone() for key, value in trained.items()}


@pytest.fixture
def path(tmp_path: Path):
    """Where a file of weights goes; 45 MB each, so none is kept."""
    yield tmp_path / "resnet18.pth"
    if (tmp_path / "resnet18.pth").is_file():
        (tmp_path / "resnet18.pth").unlink()


def refusal(path: Path) -> str:
    with pytest.raises(WeightsError) as refused:
        check_weights(18, path)
    assert f"depth 18: {path}" in str(refused.value)
    return str(refused.value)


def test_a_network_that_was_trained_is_taken_without_a_word(state, path):
    torch.save(state, path)
    assert check_weights(18, path) == []


@pytest.mark.long
@pytest.mark.parametrize("depth", DEPTHS)
def test_a_new_network_of_every_depth_is_taken_and_told_to_be_new(depth, tmp_path):
    held = tmp_path / "held.pth"
    torch.save(DEPTHS[depth][0]().state_dict(), held)
    (note,) = check_weights(depth, held)
    held.unlink()
    assert "running statistics are a new network's" in note


def _set(name, value, at=0):
    def change(state):
        state[name].view(-1)[at] = value

    return change


def _to(name, convert):
    def change(state):
        state[name] = convert(state[name])

    return change


CONV, NORM = "layer2.0.conv1.weight", "layer2.0.bn1"


@pytest.mark.parametrize(
    ("change", "name", "said"),
    [
        (_set(CONV, float("nan")), CONV, "(1 of 73,728): not finite"),
        (_set(CONV, float("inf")), CONV, "(1 of 73,728): not finite"),
        (_set(f"{NORM}.bias", float("-inf"), 127), f"{NORM}.bias", "(1 of 128): not finite"),
        (_set(f"{NORM}.running_mean", float("nan")), f"{NORM}.running_mean", "not finite"),
        (_set(f"{NORM}.running_var", float("nan")), f"{NORM}.running_var", "not finite"),
        (_set(f"{NORM}.running_var", -1e-3), f"{NORM}.running_var", "a negative running variance"),
        (_set(f"{NORM}.num_batches_tracked", -1), f"{NORM}.num_batches_tracked", "no count"),
        (_to(f"{NORM}.num_batches_tracked", lambda t: torch.tensor(float("inf"))),
         f"{NORM}.num_batches_tracked", "no count of batches"),
        (_to(f"{NORM}.num_batches_tracked", lambda t: t.bool()), f"{NORM}.num_batches_tracked",
         "is of type torch.bool"),
        (_to(CONV, lambda t: t.to(torch.int8)), CONV, "is of type torch.int8"),
        (_to(CONV, lambda t: t.to(torch.int64)), CONV, "is of type torch.int64"),
        (_to(CONV, lambda t: t > 0), CONV, "is of type torch.bool"),
        (_to(CONV, lambda t: t.to(torch.complex64)), CONV, "is of type torch.complex64"),
        (_to(CONV, lambda t: t.to(torch.float8_e4m3fn)), CONV, "is of type torch.float8"),
        (_to(CONV, lambda t: t.to_sparse()), CONV, "is no dense tensor"),
        (_to(CONV, lambda t: t.to("meta")), CONV, "has no values"),
        (_to(CONV, lambda t: t.double() * 1e300), CONV, "(73,728 of 73,728): too large"),
        (_to(CONV, lambda t: torch.zeros(0)), CONV, "0, not 128x64x3x3"),
        (_to(CONV, lambda t: t[:1]), CONV, "1x64x3x3, not 128x64x3x3"),
        (_to(CONV, lambda t: None), CONV, "is a NoneType, no tensor"),
        (_to(f"{NORM}.weight", lambda t: t[0]), f"{NORM}.weight", "one number, not 128"),
    ],
)  # fmt: skip
def test_a_tensor_that_is_not_the_network_s_is_named_with_what_is_wrong(
    change, name, said, state, path
):
    change(state)
    torch.save(state, path)
    message = refusal(path)
    assert name in message
    assert said in message
    with pytest.raises(WeightsError):  # nor does a trial take it
        backbone(18, lambda n: nn.Linear(n, 2), weights=path)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_a_quantised_tensor_is_named(state, path):
    state[CONV] = torch.quantize_per_tensor(state[CONV], 0.1, 0, torch.qint8)
    torch.save(state, path)
    assert f"{CONV}: is quantised (torch.qint8)" in refusal(path)


def test_every_fault_of_a_file_is_in_one_message(state, path):
    _set("conv1.weight", float("nan"))(state)
    _set(f"{NORM}.running_var", -2.0)(state)
    _to(CONV, lambda t: t.to(torch.int8))(state)
    _to("layer1.0.conv1.weight", lambda t: t[:1])(state)
    del state["bn1.bias"]
    state["layer5.weight"], state[7] = torch.zeros(1), torch.zeros(1)  # type: ignore[index]
    torch.save(state, path)
    message = refusal(path)
    assert "does not fit ResNet-18: 5 faults" in message
    for said in (
        "1 missing (bn1.bias), 1 unknown (layer5.weight), 1 misshapen (layer1.0.conv1.weight 1x",
        "keys that are no texts: 7",
        f"{CONV}: is of type torch.int8",
        "conv1.weight (1 of 9,408): not finite",
        f"{NORM}.running_var (least -2): a negative running variance",
    ):
        assert said in message


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_types_are_made_float32_and_that_is_said(kind, state, path):
    held = {k: v.to(kind) if v.is_floating_point() else v for k, v in state.items()}
    torch.save(held, path)
    (note,) = check_weights(18, path)
    assert f"holds numbers of {str(kind)[6:]}, which are made float32" in note
    own = backbone(18, lambda n: nn.Linear(n, 2), weights=path).state_dict()
    assert own[CONV].dtype == torch.float32
    assert torch.equal(own[CONV], held[CONV].float())


def test_counters_that_were_halved_with_the_rest_are_counts_all_the_same(state, path):
    torch.save({key: value.half() for key, value in state.items()}, path)
    check_weights(18, path)
    own = backbone(18, lambda n: nn.Linear(n, 2), weights=path).state_dict()
    assert own["bn1.num_batches_tracked"] == 3
    assert own["bn1.num_batches_tracked"].dtype == torch.int64


def test_damage_of_the_last_layer_does_not_matter(state, path):
    state |= {"fc.weight": torch.full((10, 512), float("nan")), "fc.note": None}
    torch.save(state, path)
    assert check_weights(18, path) == []


def test_weights_that_overflow_are_found_by_running_them(state, path):
    """Each number is finite; those after the second of these are not."""
    state[CONV] *= 1e30
    state["layer2.0.conv2.weight"] *= 1e30
    torch.save(state, path)
    message = refusal(path)
    assert "gives no finite output in evaluation, first after layer2.0.conv2" in message


def test_a_network_that_is_blind_is_refused(state, path):
    torch.save({key: torch.zeros_like(value) for key, value in state.items()}, path)
    assert "gives every image the same features" in refusal(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_to(CONV, torch.zeros_like), f"{CONV}: every value is the same"),
        (_to(CONV, lambda t: torch.full_like(t, 0.01)), f"{CONV}: every value is the same"),
        (_to(f"{NORM}.running_var", torch.zeros_like), "every running variance is 0"),
    ],
)
def test_what_is_odd_and_may_be_meant_is_told(change, said, state, path):
    change(state)
    torch.save(state, path)
    assert any(said in note for note in check_weights(18, path))


def test_a_channel_without_variance_and_norms_that_start_at_0_are_nothing_odd(state, path):
    """A dead channel of ImageNet's weights; zero_init_residual of torchvision."""
    _set(f"{NORM}.running_var", 0.0)(state)
    _to("layer2.0.bn2.weight", torch.zeros_like)(state)
    torch.save(state, path)
    assert check_weights(18, path) == []


@pytest.mark.parametrize(
    ("wrap", "said"),
    [
        (lambda s: {"state_dict": s, "epoch": 3}, "one under 'state_dict', as checkpoints do"),
        (lambda s: {"model": {f"module.{k}": v for k, v in s.items()}}, "one under 'model'"),
        (lambda s: {f"module.{k}": v for k, v in s.items()}, "key.removeprefix('module.')"),
        (lambda s: {f"a.b.{k}": v for k, v in s.items()}, "key.removeprefix('a.b.')"),
        (lambda s: list(s.values()), "holds a list, no state dict"),
        (lambda s: dict(enumerate(s.values())), "keys that are no texts: 0, 1, 2"),
        (lambda s: {}, "100 missing (conv1.weight, "),
        (lambda s: {**s, "epoch": 3}, "1 unknown (epoch)"),
    ],
)
def test_a_state_dict_in_other_wrappings_is_told_with_the_fix(wrap, said, state, path):
    torch.save(wrap(state), path)
    assert said in refusal(path)


@pytest.mark.parametrize(
    ("build", "depth"), [(models.resnet34, 34), (models.resnet50, 50), (models.resnet101, 101)]
)
def test_weights_of_another_depth_are_told_whose_they_are(build, depth, path):
    torch.save(build(num_classes=3).state_dict(), path)
    assert f"it holds the weights of a ResNet-{depth}, which are for depth {depth}" in refusal(
        path
    )


def test_weights_of_no_resnet_of_ours_are_told_by_their_names(path):
    torch.save(models.wide_resnet50_2().state_dict(), path)
    assert "unknown" in refusal(path)


def test_a_network_pickled_whole_is_told_to_be_code(path):
    torch.save(models.resnet18(), path)
    message = refusal(path)
    assert "holds pickled objects (torch.nn.modules" in message
    assert "save net.state_dict()" in message


def _zip(path):
    with zipfile.ZipFile(path, "w") as held:
        held.writestr("notes.txt", "x")


SAFETENSORS = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: p.write_bytes(b""), "it is empty"),
        (lambda p: p.mkdir(), "is a folder, not a file"),
        (os.mkfifo, "is no ordinary file"),
        (lambda p: p.symlink_to(p), "cannot be"),
        (_zip, "a zip of another kind (notes.txt)"),
        (lambda p: p.write_bytes(len(SAFETENSORS).to_bytes(8, "little") + SAFETENSORS + bytes(4)),
         "of the safetensors format"),
        (lambda p: p.write_text("version https://git-lfs.github.com/spec/v1"), "git lfs pull"),
        (lambda p: p.write_bytes(bytes(range(256))), "damaged, or of another format"),
    ],
)  # fmt: skip
def test_what_is_no_file_of_weights_is_told_what_it_is(make, said, path):
    make(path)
    assert said in refusal(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_told(state, path):
    torch.save(state, path)
    path.chmod(0)
    assert "cannot be opened (Permission denied)" in refusal(path)


def test_a_folder_that_cannot_be_looked_into_is_told(tmp_path):
    (tmp_path / "mine").symlink_to(tmp_path / "mine")
    with pytest.raises(WeightsError, match=r"depth 18: .*cannot be looked for"):
        find_own_weights(18, tmp_path, "mine")
