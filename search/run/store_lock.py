"""One driver of a study at a store, as far as that can be: an object that it keeps young.

Object stores have no locks. A driver keeps an object under `lock/` young, and one that finds it
old takes over; a driver looks for its own before it writes.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator

from search.record import JournalError
from search.record.terminal import shell
from search.run.errors import StoreError, TakenOverError
from search.run.objects import Objects
from trainables.files import own_name

EVERY = 4.0  # seconds between looks; the lock is made young at each
LOST = 20.0  # seconds after which a driver whose lock was not made young is taken for dead
SKEW = 900.0  # seconds by which clocks may differ; S3 itself refuses who differs by more


@contextlib.contextmanager
def claimed(store: Objects, say: Callable[[str], None]) -> Iterator[str]:
    """Hold a store, as far as that can be; yields this driver's name there.

    Raises:
        JournalError: another driver holds it.
    """
    _wait_for_others(store, say)
    owner = f"{own_name()}-{secrets.token_hex(4)}"
    put_lock(store, owner)
    try:
        ages = store.ages("lock")
        # of two that begin in the same second both give way
        if others := [n for n, age in ages.items() if n != owner and age <= ages[owner]]:
            raise _held(store, others)
        yield owner
    finally:
        with contextlib.suppress(StoreError):
            store.remove(f"lock/{owner}")


def _wait_for_others(store: Objects, say: Callable[[str], None]) -> None:
    """Return when nobody holds the store, or whoever did is dead: by the store's clock alone."""
    before, end = store.ages("lock"), time.monotonic() + LOST
    if before:
        say(f"{store.where}: {', '.join(before)} wrote there; waiting {LOST:g} s for a sign of it")
    now = before
    while now and time.monotonic() < end:
        time.sleep(min(1.0, LOST / 5))
        now = store.ages("lock")
        if living := [name for name, age in now.items() if age > before.get(name, 0.0)]:
            raise _held(store, living)
    for name in now:
        store.remove(f"lock/{name}")


def keep_young(store: Objects, owner: str, doubtful: bool, went_on: Callable[[], bool]) -> bool:
    """Put this driver's lock anew; whether it was gone, as after a takeover, or with a disk.

    Args:
        store: the store.
        owner: this driver.
        doubtful: what this returned the last time; then one that is there too has taken over.
        went_on: asked where the lock is gone: whether another has written there, and perhaps ended
            since.

    Raises:
        TakenOverError: another driver has taken over.
    """
    there = store.ages("lock").keys()
    gone = owner not in there
    if (there - {owner} and (gone or doubtful)) or (gone and went_on()):
        raise TakenOverError(
            f"{store.where}: another driver has taken the study over, since this one was not "
            f"heard of; this one ends, and `{shell('resnet-search', 'status', store.where)}` "
            "shows how the study goes on"
        )
    put_lock(store, owner)
    return gone


def put_lock(store: Objects, owner: str) -> None:
    """Put a driver's lock anew; its name and its age are all that is ever read of it."""
    store.put(f"lock/{owner}", owner.encode())


def is_driven(store: Objects) -> bool:
    """Whether a driver keeps its lock there young; one that was killed leaves its lock behind.

    Ages are by the store's clock, which may differ from this machine's: of a lock that seems to
    be a little too old it is seen whether it is put anew.
    """
    before = store.ages("lock")
    age = time.time() - max(before.values(), default=0.0)
    if age < LOST or age > SKEW:
        return age < LOST
    time.sleep(2 * EVERY)
    return any(put > before.get(name, 0.0) for name, put in store.ages("lock").items())


def _held(store: Objects, others: list[str]) -> JournalError:
    return JournalError(
        f"{store.where} is being written by another process ({', '.join(others)}); wait for it, "
        "or stop it first"
    )
