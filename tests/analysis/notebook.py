"""Runs docs/frames.ipynb in a kernel of this Python, and as a program keeps what it shows."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "docs" / "frames.ipynb"
LANGUAGE = {"name": "python"}  # not its version, which would be another on every machine


def executed(path: Path = NOTEBOOK) -> nbformat.NotebookNode:
    """The notebook with what its cells say now, run in its own folder; its file stays as it is.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raises.
    """
    notebook = nbformat.read(path, as_version=4)
    root = str(NOTEBOOK.parents[1])
    with tempfile.TemporaryDirectory(prefix="nb") as held:  # short: a socket's path has 107 bytes
        # of the user's own kernels, profile and history none plays a part
        kernel = AsyncKernelManager(
            transport="ipc",
            ip=f"{held}/k",
            kernel_spec_manager=KernelSpecManager(kernel_dirs=[]),
            connection_file=f"{held}/kernel.json",
        )
        client = NotebookClient(
            notebook,
            km=kernel,
            timeout=60,
            record_timing=False,
            resources={"metadata": {"path": str(path.parent)}},
        )
        places = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        own = {"IPYTHONDIR": held, "JUPYTER_RUNTIME_DIR": held, "PYTHONPATH": places}
        client.execute(cleanup_kc=True, env={**os.environ, **own})
    notebook.metadata["language_info"] = LANGUAGE
    return notebook


if __name__ == "__main__":
    nbformat.write(executed(), NOTEBOOK)
