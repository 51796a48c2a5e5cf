"""A Ray cluster of several machines on one: each is a raylet with a view of the files of its own.

A machine is a `ray start --block` in a mount and host-name namespace, so that it can be given
another file system than the others: no run folder, a read-only one, no package, other code. Needs
root, for `unshare`; tests that use it skip without.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import search
from tests.processes import ray_workers, tree

ROOT = Path(str(search.__file__)).parents[1]
BIN = Path(sys.executable).parent
STARTS = 60.0  # seconds in which a node must be there
PORT = 6379
ADDRESS = f"127.0.0.11:{PORT}"
READY = """
import logging, socket, sys, time
address, count, most = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
ends = time.monotonic() + most
host, _, port = address.partition(":")
while True:  # Ray's own attempt to connect may take a minute
    try:
        socket.create_connection((host, int(port)), 1).close()
        break
    except OSError:
        assert time.monotonic() < ends, "nothing listens"
        time.sleep(.1)
import ray
ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
while sum(node["Alive"] for node in ray.nodes()) < count:
    assert time.monotonic() < ends, ray.nodes()
    time.sleep(.1)
"""


def why_not() -> str:
    """Why this machine cannot hold such a cluster; "" if it can."""
    if os.getuid() != 0:
        return "not root: `unshare` cannot give a node files of its own"
    if shutil.which("unshare") is None:
        return "no `unshare` here"
    done = subprocess.run(["unshare", "-m", "-u", "-n", "true"], capture_output=True)
    return "" if done.returncode == 0 else f"unshare: {done.stderr.decode().strip()}"


class Lab:
    """The machines, and the folder in which they and the drivers work.

    Args:
        folder: of short path, since Ray's sockets lie in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.code = folder / "code"  # what the nodes import, so that one can be given another
        self.work.mkdir()
        for package in ("search", "trainables", "analysis"):
            shutil.copytree(
                ROOT / package,
                self.code / package,
                ignore=shutil.ignore_patterns("__pycache__"),
            )
        self.home = folder / "home"
        self.home.mkdir()
        self.nodes: dict[str, subprocess.Popen[bytes]] = {}
        self.address = ADDRESS  # of the head
        self._count = 0
        # a network of their own: other Rays of this machine, and of other tests, are not in it
        words = ["unshare", "-n", "bash", "-c", "ip link set lo up; echo up; exec sleep infinity"]
        self._network = subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True)
        assert self._network.stdout is not None
        assert self._network.stdout.readline() == b"up\n"

    def _inside(self, *words: str) -> list[str]:
        return ["nsenter", "-t", str(self._network.pid), "-n", *words]

    @property
    def without_package(self) -> str:
        """Shell commands that hide this package, wherever it is installed."""
        free = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        found = subprocess.run(
            [sys.executable, "-c", "import search; print(search.__file__)"],
            capture_output=True,
            text=True,
            env=free,
            cwd="/",
        )
        roots = {self.code, ROOT}
        if found.returncode == 0:
            roots.add(Path(found.stdout.strip()).parents[1])
        return "; ".join(
            f"mount -t tmpfs tmpfs {root / package}"
            for root in sorted(roots)
            for package in ("search", "trainables")
        )

    @property
    def environment(self) -> dict[str, str]:
        """Of nodes and drivers."""
        own = {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "PYTHONPATH": str(self.code),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "HOME": str(self.home),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        return {**os.environ, **own}

    def start(self, name: str, setup: str = "true", cpus: int = 1, gpus: int = 0) -> None:
        """Start a machine; where there is none, it is the head of a new cluster.

        Args:
            name: of its host.
            setup: shell commands that change what it sees.
            cpus: that Ray gives out.
            gpus: that Ray gives out, of which there need be none.
        """
        head = not self.nodes
        ip = f"127.0.0.{11 + self._count}"
        temporary = self.folder / f"r{self._count}"
        self._count += 1
        words = [
            *("ray", "start", "--block", "--disable-usage-stats"),
            *(f"--node-ip-address={ip}", f"--num-cpus={cpus}", f"--num-gpus={gpus}"),
            *(f"--temp-dir={temporary}", "--object-store-memory=80000000"),
            "--include-log-monitor=False",
        ]
        if head:
            self.address = f"{ip}:{PORT}"
            words += ["--head", f"--port={PORT}", "--include-dashboard=False"]
        else:
            words += [f"--address={self.address}"]
        script = f"hostname {name}; {setup}; exec {' '.join(words)}"
        with (self.folder / f"{name}.log").open("ab") as log:
            self.nodes[name] = subprocess.Popen(
                self._inside("unshare", "-m", "-u", "bash", "-c", script),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=self.work,
                env=self.environment,
                start_new_session=True,
            )
        if head:
            self.ready(1)

    def ready(self, count: int) -> None:
        """Return when so many nodes are there."""
        done = subprocess.run(
            self._inside(sys.executable, "-c", READY, self.address, str(count), str(STARTS)),
            timeout=2 * STARTS,
            env=self.environment,
            cwd=self.work,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr

    def driver(self, *words: str, log: str = "driver", on: str = "") -> subprocess.Popen[bytes]:
        """Start `resnet-search` with these words; its output is in `{log}.log`.

        Args:
            words: of its command line.
            log: name of its output.
            on: the machine whose files it sees; this one where none is named.
        """
        place = ["nsenter", "-t", str(self.nodes[on].pid), "-m", "-u"] if on else []
        place += ["env", f"--chdir={self.work}"]  # another machine's, where files lie over it
        with (self.folder / f"{log}.log").open("ab") as file:
            return subprocess.Popen(
                self._inside(*place, sys.executable, "-m", "search", *words),
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=self.work,
                env=self.environment,
                start_new_session=True,
            )

    def said(self, log: str = "driver") -> str:
        """What a driver has said so far."""
        return (self.folder / f"{log}.log").read_text(encoding="utf-8", errors="replace")

    def at(self, name: str, script: str) -> None:
        """Run shell commands on a machine, among its files."""
        place = ["nsenter", "-t", str(self.nodes[name].pid), "-m", "-u"]
        done = subprocess.run([*place, "bash", "-ec", script], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def seen(self, name: str, path: Path) -> Path:
        """A path as a machine sees it."""
        return Path(f"/proc/{self.nodes[name].pid}/root{path}")

    def workers(self, name: str) -> list[int]:
        """Processes of a node's Ray workers that are running a trial."""
        return ray_workers(self.nodes[name].pid)

    def kill(self, name: str) -> None:
        """As when a machine loses its power."""
        held = self.nodes.pop(name)
        for pid in tree(held.pid):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        held.wait()

    def close_nodes(self) -> None:
        """Kill every machine."""
        for name in list(self.nodes):
            self.kill(name)

    def close(self) -> None:
        """End all of it."""
        self.close_nodes()
        self._network.kill()
        self._network.wait()


@contextlib.contextmanager
def lab(folder: Path) -> Iterator[Lab]:
    """A lab that is gone after the block."""
    held = Lab(folder)
    try:
        yield held
    finally:
        held.close()


def wait(what: Callable[[], object], seconds: float, name: str) -> None:
    """Return when something holds; fails after so many seconds."""
    ends = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < ends, f"{name}: not within {seconds:g} s"
        time.sleep(0.1)
