"""A trial as Ray's own callbacks want to see one: ours are several trials of Ray, or none."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class StandIn:
    """What Ray's callbacks read of a trial; one of ours is one as long as the driver lives.

    Attributes:
        trial_id: a name among all runs of all studies.
        label: cell and trial, as people read them.
        config: what is logged as its parameters.
        experiment_dir_name: the study.
        local_path: a folder that is there.
    """

    trial_id: str
    label: str = field(compare=False)
    config: Mapping[str, Any] = field(compare=False)
    experiment_dir_name: str = field(compare=False)
    local_path: str = field(compare=False)

    def __str__(self) -> str:
        """What Ray's callbacks name its run by."""
        return self.label


def package_fault(key: str, names: tuple[str, ...], least: tuple[int, ...], install: str) -> str:
    """What is wrong with a package that a key of the study file asks for; "" if nothing is.

    Args:
        key: with its value, as the study file has it.
        names: distributions, of which any will do.
        least: version that it must have.
        install: what to give `pip install`.
    """
    for name in names:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        held = tuple(int(part) for part in re.findall(r"\d+", version)[: len(least)])
        if held >= least:
            return ""
        asked = ".".join(map(str, least))
        return f"{key} needs {name} {asked} or newer, not {version}: pip install '{install}'"
    return f"{key} needs {names[0]}, which is not installed here: pip install '{install}'"
