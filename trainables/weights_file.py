"""A file of pretrained weights: read without running its code, and looked at tensor by tensor.

What is wrong is found here, and all of it at once; trainables.resnet says of which depth and file.
State dicts inside a checkpoint, or under a prefix, are not taken as they are: such a file may hold
several networks (an average beside the last weights), and which is meant is not ours to guess.
"""

from __future__ import annotations

import contextlib
import stat
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainables.errors import WeightsError, reason
from trainables.files import contents

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
SHOWN = 5  # names told of one kind of fault; of the rest their number
UNSAFE = 3  # classes told of a file that holds more than tensors
SAVE = "save net.state_dict() of the network as it was trained"


def read_state(path: Path) -> dict[Any, Any]:
    """The dict that a file holds, on the CPU.

    Raises:
        WeightsError: it is no such file; words to go behind its name.
    """
    head = _beginning(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds for a truncated or foreign file
        # not torch's own text: it advises to load unsafely
        raise WeightsError(
            f"is no loadable weights file: {_foreign(path, head)} ({type(error).__name__})"
        ) from error
    if not isinstance(state, dict):
        raise WeightsError(f"holds a {type(state).__name__}, no state dict; {SAVE}")
    return state


def _beginning(path: Path) -> bytes:
    """The first bytes of a file.

    Raises:
        WeightsError: there is none to be read.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise WeightsError("is a folder, not a file of weights; remove or rename it")
        if not stat.S_ISREG(mode):  # a pipe would be waited for
            raise WeightsError("is no ordinary file; put the weights themselves there")
        with path.open("rb") as file:
            head = file.read(16)
    except FileNotFoundError:
        raise WeightsError("is not there; name its folder with --weights-dir") from None
    except OSError as error:
        raise WeightsError(f"cannot be opened ({reason(error)}); let yourself read it") from error
    if not head:
        raise WeightsError("is no loadable weights file: it is empty; fetch or make it again")
    return head


def _foreign(path: Path, head: bytes) -> str:
    """What a file is that torch does not load, as far as it shows, and what to do."""
    again = "; fetch or make it again"
    size = path.stat().st_size
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < size:
        return (
            "it is of the safetensors format; write torch.save(safetensors.torch.load_file(path), "
            "...) of it"
        )
    if not head.startswith(b"PK"):
        shown = contents(path, "weights")
        return f"it is {shown or 'damaged, or of another format'}{again}"
    try:
        with zipfile.ZipFile(path) as held:
            names = held.namelist()
    except (zipfile.BadZipFile, OSError):
        return f"it is damaged or cut off{again}"
    if not any(name.endswith("data.pkl") for name in names):
        return f"it is a zip of another kind ({', '.join(names[:1]) or 'empty'}){again}"
    if any(name.endswith("constants.pkl") for name in names):
        return f"it is a TorchScript archive; load it with torch.jit.load and {SAVE}"
    unsafe: list[str] = []
    with contextlib.suppress(Exception):  # of a damaged file
        unsafe = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    if unsafe:
        return (
            f"it holds pickled objects ({', '.join(sorted(unsafe)[:UNSAFE])}), which would run "
            f"code; {SAVE}"
        )
    return f"it is damaged{again}"


def body_of(
    state: Mapping[Any, Any], own: Mapping[str, Tensor], head: str
) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """The tensors that a network takes, in its types; what is wrong, and what is worth a word.

    Args:
        state: of a file.
        own: the network's own state; shapes and types are read.
        head: prefix of the last layer, which is not taken: whatever the file holds of it.

    Returns:
        The tensors, sound only where there is no fault; faults; notes.
    """
    if elsewhere := _elsewhere(state):
        return {}, [elsewhere], []
    given = {k: v for k, v in state.items() if not str(k).startswith(head)}
    wanted = {k: v for k, v in own.items() if not k.startswith(head)}
    kinds = {k: _kind_fault(given[k], v) for k, v in wanted.items() if k in given}
    dense = {k: given[k].detach() for k, kind in kinds.items() if not kind}
    faults = _key_faults(given, wanted, dense)
    for kind in sorted(set(kinds.values()) - {""}):
        faults.append(f"{_listed(k for k in kinds if kinds[k] == kind)}: {kind}")
    sound = {k: v for k, v in dense.items() if v.shape == wanted[k].shape}
    faults += _value_faults(sound, wanted)
    types = {str(v.dtype)[6:] for k, v in sound.items() if wanted[k].is_floating_point()}
    notes = _value_notes(sound)
    if others := sorted(types - {"float32"}):
        notes.append(f"holds numbers of {', '.join(others)}, which are made float32")
    return {k: v.to(wanted[k].dtype) for k, v in sound.items()}, faults, notes


def fits(state: Mapping[Any, Any], own: Mapping[str, Tensor], head: str) -> bool:
    """Whether a file's names and shapes, the last layer's aside, are those of a network.

    Args:
        state: of a file.
        own: the network's own state; shapes are read.
        head: prefix of the last layer.
    """
    given = {k: v for k, v in state.items() if not str(k).startswith(head)}
    wanted = {k: v for k, v in own.items() if not k.startswith(head)}
    dense = {k: given[k] for k in wanted if isinstance(given.get(k), Tensor)}
    return not _key_faults(given, wanted, dense)


def _key_faults(
    given: Mapping[Any, Any], wanted: Mapping[str, Tensor], dense: Mapping[str, Tensor]
) -> list[str]:
    """Names that a file lacks or has too many of, and shapes of another network."""
    # old torchvision files carry no batch counters; load_state_dict starts them at zero
    missing = [k for k in wanted if k not in given and not k.endswith("num_batches_tracked")]
    extra = [str(k) for k in given if isinstance(k, str) and k not in wanted]
    shapes = [
        f"{k} {_shape(v)}, not {_shape(wanted[k])}"
        for k, v in dense.items()
        if v.shape != wanted[k].shape
    ]
    unfit = ((missing, "missing"), (extra, "unknown"), (shapes, "misshapen"))
    parts = [f"{len(keys)} {what} ({_listed(keys)})" for keys, what in unfit if keys]
    faults = [", ".join(parts)] if parts else []
    if strange := [repr(key) for key in given if not isinstance(key, str)]:
        faults.append(f"keys that are no texts: {_listed(strange)}; {SAVE}")
    return faults


def _elsewhere(state: Mapping[Any, Any]) -> str:
    """Where in a file a ResNet's state dict lies, if not at its top; and how to put it there."""
    if "conv1.weight" in state:
        return ""
    for key, value in state.items():
        if isinstance(value, dict) and any(str(k).endswith("bn1.weight") for k in value):
            return (
                f"it holds no state dict itself but one under {key!r}, as checkpoints do; write "
                f"torch.save(torch.load(path)[{key!r}], ...) of it"
            )
    first = "layer1.0.conv1.weight"
    prefixes = [k.removesuffix(first) for k in state if isinstance(k, str) and k.endswith(first)]
    if prefixes and all(prefixes):
        return (
            f"its keys begin with {prefixes[0]!r}; save "
            f"{{key.removeprefix({prefixes[0]!r}): value for key, value in state.items()}}"
        )
    return ""


def _kind_fault(value: Any, own: Tensor) -> str:
    """What keeps a value from being this tensor of the network, shape and numbers aside."""
    if not isinstance(value, Tensor):
        return f"is a {type(value).__name__}, no tensor; {SAVE}"
    if value.is_quantized:
        return f"is quantised ({value.dtype}); save the network before that, or dequantize() it"
    if value.layout is not torch.strided or value.is_nested:
        return f"is no dense tensor ({value.layout}); write its to_dense()"
    if value.is_meta:
        return "has no values (it is on the device meta); save the network itself"
    if own.is_floating_point() and value.dtype not in FLOATS:
        return f"is of type {value.dtype}, where floating numbers are wanted; {SAVE}"
    if not own.is_floating_point() and (value.dtype == torch.bool or value.is_complex()):
        return f"is of type {value.dtype}, where a whole number is wanted; leave it out"
    return ""


def _value_faults(sound: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    """Numbers that no network can have, by kind."""
    lost: list[str] = []
    large: list[str] = []
    negative: list[str] = []
    counters: list[str] = []
    for name, value in sound.items():
        if not own[name].is_floating_point():
            count = value.double()
            if not bool(((count >= 0) & (count % 1 == 0)).all()):  # inf % 1 is NaN
                counters.append(name)
            continue
        low, high = _ends(value)
        if not low > -torch.inf or not high < torch.inf:
            whole = int((~torch.isfinite(value)).sum())
            bad = whole or int((~torch.isfinite(value.float())).sum())
            (lost if whole else large).append(f"{name} ({bad:,} of {value.numel():,})")
        elif low < 0 and name.endswith("running_var"):
            negative.append(f"{name} (least {low:.3g})")
    told = (
        (lost, "not finite", "its training diverged: take an earlier checkpoint"),
        (large, "too large for float32", SAVE),
        (negative, "a negative running variance", "the file is damaged: make it again"),
        (counters, "no count of batches", "leave the key out, and it starts at 0"),
    )
    return [f"{_listed(names)}: {what}; {fix}" for names, what, fix in told if names]


def _value_notes(sound: Mapping[str, Tensor]) -> list[str]:
    """What may be meant and seldom is."""
    ends = {k: _ends(v) for k, v in sound.items() if v.is_floating_point() and v.numel()}
    notes = []
    flat = [k for k, (low, high) in ends.items() if sound[k].ndim == 4 and low == high]
    if flat:
        notes.append(f"{_listed(flat)}: every value is the same, as no training leaves them")
    still = [k for k, held in ends.items() if k.endswith("running_var") and held == (0, 0)]
    if still:
        notes.append(f"{_listed(still)}: every running variance is 0")
    fresh = [held == (1, 1) for k, held in ends.items() if k.endswith("running_var")]
    fresh += [held == (0, 0) for k, held in ends.items() if k.endswith("running_mean")]
    if fresh and all(fresh):
        notes.append("its running statistics are a new network's, as if it had never been trained")
    return notes


def _ends(value: Tensor) -> tuple[float, float]:
    """Smallest and largest as float32; NaN where there is one. One pass, no copy of float32."""
    low, high = torch.aminmax(value.float())
    return float(low), float(high)


def _shape(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "one number"


def _listed(names: Iterable[str]) -> str:
    held = list(names)
    more = f" and {len(held) - SHOWN} more" if len(held) > SHOWN else ""
    return ", ".join(held[:SHOWN]) + more
