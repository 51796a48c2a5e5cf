"""`--ship-code`: the nodes of a cluster get this package from the driver, for this session alone.

They need Ray, torch and torchvision then, and what those bring; crowd counting needs scipy beside.
A node's own copy is passed over, and the probe compares what was received (`search.run.digest`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import search
import trainables


def runtime_env() -> dict[str, Any]:
    """What Ray takes to every worker: the packages as they are here, in no wheel, no index asked.

    Returns:
        A `runtime_env` for `ray.init`.
    """
    folders = [str(Path(str(package.__file__)).parent) for package in (search, trainables)]
    return {"py_modules": folders, "excludes": ["**/__pycache__/**"]}
