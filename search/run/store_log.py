"""The logs of a study as a store has them, and a run folder that is brought to where they are.

A log lies there as segments, `log/<name>.<first byte>`; see `mirror`, which hands them in.
"""

from __future__ import annotations

import json
from pathlib import Path

from search.record import EPOCHS, JOURNAL, LOGS, STUDY, RecordError, load_study
from search.record.beside import asked_to
from search.record.taken import FOLDERS
from search.run.objects import Objects
from trainables.errors import reason
from trainables.files import whole


def fetch_study(uri: str, folder: Path) -> Objects:
    """Make a folder of a run that a store holds, as far as its study.json; see `align`.

    Args:
        uri: the run.
        folder: where; one that holds this study already stays as it is.

    Raises:
        RecordError: no study is there, or the folder is another study's.
        UserError, StoreError: see Objects.
    """
    store = Objects(uri)
    text = store.read(STUDY)
    if text is None:
        raise RecordError(
            f"{uri} holds no study: it has no {STUDY}. Name what `resnet-search run` was given as "
            "--runs-dir, and behind it the study's name, e.g. s3://bucket/runs/quickstart"
        )
    if (folder / STUDY).exists():
        if load_study(folder).get("run_id") != json.loads(text).get("run_id"):
            raise RecordError(
                f"{folder} holds another study than {uri}; name another folder (`resume`: "
                "--local-dir, `fetch`: --to)"
            )
        return store
    try:
        for name in FOLDERS:
            (folder / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(f"{folder}: no folder can be made there ({reason(error)})") from error
    _write(folder / STUDY, text)
    return store


def align(store: Objects, folder: Path) -> None:
    """Bring a run folder to where the store is, if it is behind.

    Raises:
        RecordError: the two hold what no one driver has written, or a segment is missing.
        StoreError: a segment is damaged, or the store does not answer.
    """
    logs = {name: read_log(store, name) for name in LOGS}
    for name, held in logs.items():
        path = folder / name
        own = path.read_bytes() if path.is_file() else b""
        common = min(len(own), len(held))
        if own[:common] != held[:common]:
            raise RecordError(
                f"{path} and {store.where} have gone apart: another driver went on from the "
                "store. Go on from there too, with a --local-dir that has no folder of this study"
            )
        if name == EPOCHS and len(own) < len(held):
            held = held[: max(common, _asked_for(logs[JOURNAL], held))]
        with path.open("ab") as file:
            file.write(held[common:])
    text = store.read(STUDY) or b"{}"
    if len(json.loads(text).get("sessions", [])) > len(load_study(folder)["sessions"]):
        _write(folder / STUDY, text)


def _asked_for(journal: bytes, epochs: bytes) -> int:
    """Bytes of a log of epochs up to the first row that no ask in a journal is for."""
    size = 0
    try:
        events = map(json.loads, journal.splitlines())
        asked = asked_to(event["job"] for event in events if event["event"] == "ask")
        for text in epochs.splitlines(keepends=True):
            line = json.loads(text)
            if line["row"]["epoch"] > asked.get(line["trial"], 0):
                return size
            size += len(text)
    except (ValueError, KeyError, TypeError, AttributeError):  # who reads the log says what it is
        return len(epochs)
    return size


def read_log(store: Objects, name: str) -> bytes:
    """A log as the store has it."""
    held = bytearray()
    for first in segments(store, name):
        if first != len(held):
            raise RecordError(
                f"{store.where}/log: {name} lacks what stands between byte {len(held)} and "
                f"{first}; restore that object from a copy"
            )
        held += store.read(f"log/{name}.{first:012d}") or b""
    return bytes(held)


def segments(store: Objects, log: str) -> list[int]:
    """Where each segment of a log begins."""
    names = [name for name in store.names("log") if name.startswith(f"{log}.")]
    return sorted(int(name.rpartition(".")[2]) for name in names)


def cut_log(store: Objects, log: str, size: int) -> int:
    """Remove segments behind a log's end; returns where the last one that stays begins."""
    firsts = segments(store, log)
    for first in firsts:
        if first >= size:
            store.remove(f"log/{log}.{first:012d}")
    return max((first for first in firsts if first < size), default=0)


def _write(path: Path, text: bytes) -> None:
    with whole(path) as partial:
        partial.write_bytes(text)
