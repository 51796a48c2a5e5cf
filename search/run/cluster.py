"""The Ray cluster a driver works on: started here or joined, and what it has.

Sets the environment that Ray reads when it is imported, so import this before ray. Public
interfaces of Ray only, but for the address that `ray.init` binds to.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any

from search.run import head
from search.run.errors import ExecutionError
from search.run.ray_folder import KEEP, RAYS, ray_folder
from search.run.reach import HERE, check_address
from search.run.shipping import runtime_env
from search.run.signals import kept_from_children
from trainables import places

# before ray is imported: these are read at import
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # no banner; our own progress is shown
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # the record is ours
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # the executor does it
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "3600")  # nobody reads Ray's snapshots
os.environ.setdefault(
    "TUNE_FUNCTION_THREAD_TIMEOUT_S", "600"
)  # a slow end must not fail the next job
# Ray asks a searcher for one trial at a time and waits until it has started: 64 workers one after
# another, five seconds each. JobSearcher itself gives no more jobs than there are slots, and one
# at a time where they are of several shapes.
os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", "1000")
# A trial is a thread of its worker, and glibc gives each new thread an arena that keeps what was
# freed in it: a worker's third trial was seen at 1.67 GB instead of 1.39.
os.environ.setdefault("MALLOC_ARENA_MAX", "1")
# A job reports its failure before it raises. Where Ray's experiment has ended in between, nobody
# waits for what it raises, and Ray would print that as an error of ours.
os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
# The memory monitor's kill ends the whole experiment; a kernel kill is an actor death to Tune.
os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")

places.give_home()  # ray.tune asks for the home folder when it is imported

import ray  # noqa: E402
from ray._private import ray_constants  # noqa: E402

LOOPBACK = "127.0.0.1"
# the same words stand in deploy/two-machines/README.md
TOKEN = (
    "`ray get-auth-token`, on its head and in the environment that it was started with, prints "
    "its token; here, `export RAY_AUTH_MODE=token RAY_AUTH_TOKEN=TOKEN`, or RAY_AUTH_TOKEN_PATH= "
    "a file that holds it, and the same command again"
)
START = (
    "start one with a token and a private address (deploy/two-machines shows how: else `ray "
    "start` lets in whoever reaches this machine)"
)
GPU_WAIT = 1800.0  # seconds; others may hold every GPU of a cluster, and steps are few
# what `disconnect` lets go of: the folder of a Ray started here, or the watch of a head
_held = contextlib.ExitStack()


def connect(
    address: str,
    cores: int | None = None,
    say: Callable[[str], None] = lambda text: None,
    ship: bool = False,
    hint: str = "",
) -> None:
    """Start Ray here (`local`), or join a cluster (`auto` or `host:port`).

    Args:
        address: where.
        cores: CPU cores that a local Ray gives out; None for all it finds.
        say: told of what is not as usual.
        ship: give the nodes of a cluster this package's code; see `search.run.shipping`.
        hint: what is said beside the fault when a cluster loses its head; see `search.run.head`.

    Raises:
        PreflightError: it is no address.
        ExecutionError: nothing answers at the address, or Ray does not start here.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a failed job is ours to tell
    if address == "local":
        _start(cores, say)
        return
    check_address(address, ray.util.get_node_ip_address)
    with tempfile.TemporaryFile() as lines:
        try:
            with _printed_into(lines):
                _init(address=address, **({"runtime_env": runtime_env()} if ship else {}))
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            why = _reason(error, lines)
            refused = "AuthToken" in why or "AuthenticationError" in why
            said = "the Ray cluster does not take our token" if refused else "no Ray cluster is"
            raise ExecutionError(
                f"{said} at --address {address} ({why}); {TOKEN if refused else START}, or {HERE}"
            ) from error
    _held.enter_context(head.watched(ray.get_runtime_context().gcs_address, hint))


@contextlib.contextmanager
def _printed_into(lines: IO[bytes]) -> Iterator[None]:
    """Standard error goes to a file: Ray's C++ prints its tries there, beside the reason."""
    sys.stderr.flush()
    held = os.dup(2)
    os.dup2(lines.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(held, 2)
        os.close(held)


def _reason(error: Exception, lines: IO[bytes]) -> str:
    """An error of Ray's in one line, and the last that was printed before it."""
    lines.seek(0)
    printed = lines.read().decode(errors="replace").splitlines()
    said = next(iter(str(error).splitlines()), type(error).__name__)
    last = next((line for line in reversed(printed) if line.strip()), "")
    return f"{said}; {last.strip()}" if last else said


def _start(cores: int | None, say: Callable[[str], None]) -> None:
    folder = _held.enter_context(ray_folder(say))
    try:
        with _on_loopback():
            _init(
                address="local",
                num_cpus=cores,
                include_dashboard=False,
                _node_ip_address=LOOPBACK,
                _temp_dir=str(folder / RAYS),
            )
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        with contextlib.suppress(OSError):
            (folder / KEEP).touch()
        raise ExecutionError(
            f"Ray does not start on this machine ({error}); its logs are in {folder}"
        ) from error
    if (at := ray.util.get_node_ip_address()) != LOOPBACK:
        say(f"note: Ray {ray.__version__} listens at {at}, beyond this machine, with a token")


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """Keep a Ray that is started in the block to this machine.

    Ray takes another address of the machine for 127.0.0.1, and then listens on all interfaces. It
    does not where it is built for one machine alone, as on Windows.
    """
    held = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = held


def _init(**options: Any) -> None:
    with kept_from_children():
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
        except SystemExit as error:  # Ray's own answer to a SIGTERM
            raise KeyboardInterrupt from error


def joined() -> str:
    """The cluster that this driver is part of, in words."""
    held = resources()  # Ray lists nodes that are gone, too
    return (
        f"Ray at {ray.get_runtime_context().gcs_address}: {len(held)} node(s), "
        f"{sum(node.get('CPU', 0) for node in held):g} CPUs, {gpus_of(held):g} GPUs"
    )


def disconnect() -> None:
    """Leave the cluster, or end the one that was started here."""
    try:
        ray.shutdown()
    finally:
        _held.close()


def gpus_of(nodes: Sequence[Mapping[str, float]]) -> float:
    """GPUs of nodes together.

    Args:
        nodes: what Ray gives out of each.
    """
    return float(sum(node.get("GPU", 0) for node in nodes))


def on_gpu(labels: Mapping[str, str] | None, function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function in a process of its own that has a whole GPU, and return what it returns.

    Args:
        labels: that its node must have, as Ray's `label_selector`.
        function: what runs there.
        arguments: of it.

    Raises:
        TimeoutError: no GPU was free, or it did not end, within GPU_WAIT seconds.
        Exception: whatever the function raises.
    """
    where = {"label_selector": dict(labels)} if labels else {}
    task = ray.remote(num_gpus=1, max_calls=1, max_retries=0, **where)(function)
    held = task.remote(*arguments)
    try:
        return ray.get(held, timeout=GPU_WAIT)
    except ray.exceptions.GetTimeoutError as error:
        ray.cancel(held, force=True)
        raise TimeoutError(f"no whole GPU was to be had within {GPU_WAIT:g} s") from error


def resources() -> list[Mapping[str, float]]:
    """What Ray gives out of each node."""
    return list(resources_by_id().values())


def resources_by_id() -> dict[str, Mapping[str, float]]:
    """The same by Ray's id of each node."""
    return {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}


def check_feasible(
    cpus: float, gpus: float, nodes: Sequence[Mapping[str, float]] | None = None
) -> None:
    """Refuse a request that no node can ever meet; Ray would wait for ever without a word.

    Args:
        cpus: of a trial.
        gpus: of a trial.
        nodes: what Ray gives out of each node that may take jobs; default: of all.

    Raises:
        ExecutionError: with what the largest node has.
    """
    nodes = resources() if nodes is None else nodes
    if any(n.get("CPU", 0) >= cpus and n.get("GPU", 0) >= gpus for n in nodes):
        return
    held = "; ".join(f"{n.get('CPU', 0):g} CPUs, {n.get('GPU', 0):g} GPUs" for n in nodes)
    raise ExecutionError(
        f"a trial asks for {cpus:g} CPUs and {gpus:g} GPUs, and no node has them ({held}): lower "
        "resources.cpus_per_trial or resources.gpus_per_trial"
    )
