"""A study whose driver's disk is lost goes on from the store, as if nothing had been."""

import json
import shutil
import time
import tomllib

import pytest

from search import record
from search.record import JournalError, RecordError, manifest
from search.record.journal import read_lines
from search.record.run_folder import RunFolder
from search.run import mirror, objects, store_lock
from search.run.errors import ExecutionError, StoreError, TakenOverError
from search.run.fetch import fetch, looked_at
from search.run.job_form import Places
from search.run.mirror import mirrored
from search.run.objects import Objects
from search.run.store_log import align, fetch_study, read_log
from search.run.study import Study
from search.spec.study_spec import parse_spec
from tests.search.conftest import TEXT, Silent, drive

DATA = [{"data": "synthetic", "edition": "synthetic", "synthetic": True}]
DATA[0] |= {"train_images": 9, "test_images": 9}
HERE = {"versions": {}, "git": None, "machine": {}}


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr(store_lock, "EVERY", 0.05)
    monkeypatch.setattr(store_lock, "LOST", 0.5)
    monkeypatch.setattr(objects, "WAITS", ())


@pytest.fixture
def store_uri(tmp_path):
    return f"file://{tmp_path}/store/runs/tiny"


class Driver:
    """A driver of the study in its folder, at a store; a context manager."""

    def __init__(self, folder, uri, said=None, text=TEXT):
        self.said = said if said is not None else []
        self.spec = parse_spec(tomllib.loads(text), "tiny.toml")
        self.run = RunFolder(folder) if (folder / record.STUDY).exists() else None
        new = self.run is None
        self.run = self.run or RunFolder.make(folder)
        self._held = mirrored(uri, folder, self.said.append, new)
        try:
            self.mirror = self._held.__enter__()
        except BaseException:
            self.run.close()
            raise
        if new:
            told = manifest.describe_study(self.spec, text, [], DATA, {}, HERE)
            self.run.create({**told, "store": uri})
        self.run.add_session("run" if new else "resume", {})
        self.mirror.flush()
        watcher = Silent()
        watcher.noted = self.said.append
        there = Places(folder, {}, {}, store=uri)
        self.study = Study(self.spec, self.run, there, watcher, self.mirror)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._held.__exit__(None, None, None)
        self.run.close()

    def die(self):
        """As a machine does: nothing is handed in or let go of any more."""
        self.mirror._stop.set()
        self.mirror._thread.join()
        self.run.close()


def decisions(folder):
    events = read_lines(folder / record.JOURNAL)
    return [{k: v for k, v in e.items() if k != "time"} for e in events if "verdict" in e]


@pytest.fixture
def undisturbed(tmp_path):
    uri = f"file://{tmp_path}/undisturbed"
    with Driver(tmp_path / "undisturbed-run", uri) as driver:
        drive(driver.study)
    return decisions(tmp_path / "undisturbed-run")


@pytest.mark.parametrize("jobs", [1, 7, 12])
def test_a_fresh_driver_goes_on_from_the_store_alone(tmp_path, store_uri, undisturbed, jobs):
    first = Driver(tmp_path / "a", store_uri)
    drive(first.study, most=jobs)
    first.mirror.flush()
    held = (tmp_path / "a" / record.EPOCHS).read_bytes()
    first.die()
    shutil.rmtree(tmp_path / "a")
    fetch_study(store_uri, tmp_path / "b")
    with Driver(tmp_path / "b", store_uri) as second:
        assert (tmp_path / "b" / record.EPOCHS).read_bytes() == held
        drive(second.study)
        assert second.study.done
        second.study.write_views()
    assert decisions(tmp_path / "b") == undisturbed
    kinds = [s["kind"] for s in record.load_study(tmp_path / "b")["sessions"]]
    assert kinds == ["run", "resume"]
    fetch(store_uri, tmp_path / "c")
    for name in (record.JOURNAL, record.EPOCHS, record.STUDY):
        assert (tmp_path / "c" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert record.load(tmp_path / "c").trials.equals(record.load(tmp_path / "b").trials)


def test_what_happens_is_handed_in_without_being_asked_for(tmp_path, store_uri):
    with Driver(tmp_path / "a", store_uri) as driver:
        drive(driver.study, most=3)
        wanted = (tmp_path / "a" / record.JOURNAL).read_bytes()
        for _ in range(100):
            if Objects(store_uri).read(f"log/{record.JOURNAL}.000000000000") == wanted:
                return
            time.sleep(0.1)
    raise AssertionError


TPE = TEXT.replace("seed = 3", 'seed = 3\nsampler = "tpe"').replace(
    "trials_per_cell = 5", "trials_per_cell = 12"
)


def row(epoch):
    rest = {"lr": 0.1, "train_loss": 1.0, "seconds": 1.0, "val_loss": 1.0, "val_accuracy": 0.5}
    return {"epoch": epoch, **rest}


def test_what_was_asked_and_trained_since_the_last_tell_is_handed_in_too(tmp_path, store_uri):
    """Else another driver draws another config for that trial: TPE's hang on what was told."""
    first = Driver(tmp_path / "a", store_uri, text=TPE)
    drive(first.study, most=16)
    first.mirror.flush()
    drive(first.study, most=1)
    first.study._on_disk = time.monotonic()  # a tell within the second forces nothing to disk
    while (job := first.study.ask()).train["from_epoch"]:
        pass
    first.study.epoch(job.trial, row(1))
    wanted = {name: (tmp_path / "a" / name).read_bytes() for name in record.LOGS}
    for _ in range(100):
        if all(read_log(Objects(store_uri), name) == held for name, held in wanted.items()):
            break
        time.sleep(0.05)
    first.die()
    shutil.rmtree(tmp_path / "a")
    fetch_study(store_uri, tmp_path / "b")
    with Driver(tmp_path / "b", store_uri, text=TPE) as second:
        assert (tmp_path / "b" / record.JOURNAL).read_bytes().startswith(wanted[record.JOURNAL])
        asked = {}
        while job.trial not in asked:
            again = second.study.ask()
            asked[again.trial] = again.train["config"]
        assert asked[job.trial] == job.train["config"]
        second.study.put_back_all()
        drive(second.study)
        assert second.study.done
        second.study.write_views()  # its reader holds the decisions against the record
    fetch(store_uri, tmp_path / "c")
    assert decisions(tmp_path / "c") == decisions(tmp_path / "b")


def test_a_driver_lost_between_the_two_logs_leaves_no_rows_of_what_nobody_asked_for(
    tmp_path, store_uri, monkeypatch
):
    first = Driver(tmp_path / "a", store_uri, text=TPE)
    drive(first.study, most=9)
    first.mirror.flush()
    told = (tmp_path / "a" / record.EPOCHS).read_bytes()
    put = first.mirror.store.put

    def dying(name, source):
        if record.JOURNAL in name:
            raise StoreError("gone")
        put(name, source)

    monkeypatch.setattr(first.mirror.store, "put", dying)
    while (job := first.study.ask()).train["from_epoch"]:
        pass
    first.study.epoch(job.trial, row(1))
    with pytest.raises(StoreError):
        first.mirror.flush()
    first.die()
    shutil.rmtree(tmp_path / "a")
    assert len(read_log(Objects(store_uri), record.EPOCHS)) > len(told)
    fetch_study(store_uri, tmp_path / "b")
    with Driver(tmp_path / "b", store_uri, text=TPE) as second:
        assert (tmp_path / "b" / record.EPOCHS).read_bytes() == told
        drive(second.study, most=2)
        second.mirror.flush()
        whole = (tmp_path / "b" / record.EPOCHS).read_bytes()
        assert read_log(Objects(store_uri), record.EPOCHS) == whole


def test_half_a_line_is_not_handed_in(tmp_path, store_uri):
    with Driver(tmp_path / "a", store_uri) as driver:
        drive(driver.study, most=2)
        held = (tmp_path / "a" / record.JOURNAL).read_bytes()
        with (tmp_path / "a" / record.JOURNAL).open("ab") as file:
            file.write(b'{"event": "te')
        driver.mirror.flush()
        assert read_log(Objects(store_uri), record.JOURNAL) == held


def test_a_log_whose_end_was_cut_is_cut_in_the_store(tmp_path, store_uri, monkeypatch):
    monkeypatch.setattr(mirror, "SEGMENT", 100)
    monkeypatch.setattr(store_lock, "EVERY", 1000.0)
    with Driver(tmp_path / "a", store_uri) as driver:
        drive(driver.study, most=3)
        driver.mirror.flush()
        for size in (250, 200, 199, 30):
            held = (tmp_path / "a" / record.EPOCHS).read_bytes()[:size] + b"\n"
            (tmp_path / "a" / record.EPOCHS).write_bytes(held)
            driver.mirror.flush()
            assert read_log(Objects(store_uri), record.EPOCHS) == held


def test_a_long_log_is_handed_in_in_segments_and_each_full_one_once(
    tmp_path, store_uri, monkeypatch
):
    monkeypatch.setattr(mirror, "SEGMENT", 100)
    with Driver(tmp_path / "a", store_uri) as driver:
        drive(driver.study, most=2)
        driver.mirror.flush()
        store = Objects(store_uri)
        before = store.ages("log")
        drive(driver.study, most=3)
        driver.mirror.flush()
    after = store.ages("log")
    assert len(after) > len(before) > 6
    again = {name for name in before if after[name] != before[name]}
    assert len(again) <= 2  # the last one of each log
    fetch(store_uri, tmp_path / "b")
    for name in (record.JOURNAL, record.EPOCHS):
        assert (tmp_path / "b" / name).read_bytes() == (tmp_path / "a" / name).read_bytes()
    lost = sorted(name for name in after if name.startswith(record.JOURNAL))[1]
    store.remove(f"log/{lost}")
    with pytest.raises(RecordError, match=r"lacks what stands between byte 100 and 200"):
        fetch(store_uri, tmp_path / "c")


def test_a_checkpoint_goes_only_when_the_store_knows_why(tmp_path, store_uri, monkeypatch):
    """Else a fresh driver would ask for its job, which would begin anew."""
    monkeypatch.setattr(store_lock, "EVERY", 1000.0)
    with Driver(tmp_path / "a", store_uri) as driver:
        store, said = Objects(store_uri), 0
        while (job := driver.study.ask()) is not None:
            store.put(f"checkpoints/{job.trial}.pt", b"state")
            before = set(store.names("checkpoints"))
            epoch = job.train["to_epoch"]
            told = {"ending": "value", "value": hash(job.trial) % 97, "value_epoch": epoch}
            driver.study.tell(job.trial, {**told, "epoch": epoch, "seconds": 1.0})
            if gone := before - set(store.names("checkpoints")):
                said += len(gone)
                fetch_study(store_uri, tmp_path / "b")
                align(store, tmp_path / "b")
                assert decisions(tmp_path / "b") == decisions(tmp_path / "a")
                shutil.rmtree(tmp_path / "b")
        assert said > 5
        assert store.names("checkpoints") == []


def test_a_driver_that_comes_back_after_another_went_on_is_refused(tmp_path, store_uri):
    first = Driver(tmp_path / "a", store_uri)
    drive(first.study, most=3)
    first.mirror.flush()
    drive(first.study, most=1)  # these lines are on its own disk alone
    first.die()
    fetch_study(store_uri, tmp_path / "b")
    with Driver(tmp_path / "b", store_uri) as second:
        drive(second.study, most=4)
        second.mirror.flush()
    with pytest.raises(RecordError, match=r"gone apart.*--local-dir"):
        Driver(tmp_path / "a", store_uri)


def test_a_driver_that_comes_back_alone_hands_in_what_it_had(tmp_path, store_uri, undisturbed):
    first = Driver(tmp_path / "a", store_uri)
    drive(first.study, most=3)
    first.mirror.flush()
    drive(first.study, most=2)
    first.die()
    with Driver(tmp_path / "a", store_uri) as second:
        drive(second.study)
        second.study.write_views()
    fetch(store_uri, tmp_path / "b")
    assert decisions(tmp_path / "b") == undisturbed


def test_a_second_driver_is_refused_while_the_first_lives(tmp_path, store_uri):
    with Driver(tmp_path / "a", store_uri) as first:
        first.mirror.flush()
        fetch_study(store_uri, tmp_path / "b")
        with pytest.raises(JournalError, match="written by another process"):
            Driver(tmp_path / "b", store_uri)
        with pytest.raises(JournalError, match="written by another process"):
            Driver(tmp_path / "other-run-of-that-name", store_uri)
        drive(first.study, most=2)
        first.mirror.flush()
    assert Objects(store_uri).names("lock") == []


def test_of_a_dead_driver_the_lock_is_waited_for_and_taken(tmp_path, store_uri):
    first = Driver(tmp_path / "a", store_uri)
    first.die()
    (dead,) = Objects(store_uri).names("lock")
    said = []
    started = time.monotonic()
    with Driver(tmp_path / "a", store_uri, said):
        assert time.monotonic() - started >= store_lock.LOST
        assert dead not in Objects(store_uri).names("lock")
    assert dead in said[0]


def test_a_driver_that_another_took_over_ends(tmp_path, store_uri):
    with Driver(tmp_path / "a", store_uri) as first:
        (own,) = Objects(store_uri).names("lock")
        Objects(store_uri).remove(f"lock/{own}")  # as one does that takes over
        store_lock.put_lock(Objects(store_uri), "other")
        for _ in range(100):
            if first.mirror._fault is not None:
                break
            time.sleep(0.05)
        with pytest.raises(TakenOverError, match="has taken the study over"):
            first.study.ask()


def suspended(tmp_path, store_uri, monkeypatch):
    """A driver that stops while it waits for its next look."""
    monkeypatch.setattr(store_lock, "EVERY", 1000.0)
    first = Driver(tmp_path / "a", store_uri)
    drive(first.study, most=6)
    first.mirror.flush()
    monkeypatch.setattr(store_lock, "EVERY", 0.05)
    time.sleep(0.06)
    return first


@pytest.mark.parametrize("ended", [False, True], ids=["that runs", "that has ended"])
def test_a_driver_that_was_suspended_writes_nothing_over_its_successor(
    tmp_path, store_uri, monkeypatch, ended
):
    first = suspended(tmp_path, store_uri, monkeypatch)
    fetch_study(store_uri, tmp_path / "b")
    second = Driver(tmp_path / "b", store_uri)
    drive(second.study, most=8)
    second.mirror.flush()
    if ended:
        second.__exit__()
    held = (tmp_path / "b" / record.JOURNAL).read_bytes()
    before = Objects(store_uri).names("checkpoints")
    with pytest.raises(TakenOverError, match="another driver has taken the study over"):
        drive(first.study)  # as soon as it would remove a checkpoint, at the latest at its end
        first.study.write_views()
    fetch(store_uri, tmp_path / "c")
    assert (tmp_path / "c" / record.JOURNAL).read_bytes() == held
    assert Objects(store_uri).names("checkpoints") == before
    first.run.close()
    if not ended:
        second.__exit__()


def test_who_ends_since_another_took_over_is_not_told_to_resume(make_study):
    from search.run.executor import _cannot_go_on

    study = make_study()
    told = str(_cannot_go_on(study, TakenOverError("s3://b/x: another driver has taken over")))
    assert "another driver has taken over" in told
    assert "resume" not in told
    study.close()


@pytest.mark.parametrize("kind", [ValueError, RuntimeError])
def test_whatever_ends_the_thread_that_hands_in_ends_the_study(
    tmp_path, store_uri, monkeypatch, kind
):
    driver = Driver(tmp_path / "a", store_uri)

    def broken(name, source):
        raise kind("bad endpoint")

    monkeypatch.setattr(driver.mirror.store, "put", broken)
    driver.mirror._thread.join(5)
    job = None
    with pytest.raises(ExecutionError, match=rf"{kind.__name__}: bad endpoint"):
        job = driver.study.ask()
    assert job is None
    with pytest.raises(ExecutionError, match="cannot be handed in any more"):
        driver.study.epoch("00-000", {"epoch": 1, "val_accuracy": 0.5})
    driver.run.close()


def test_two_that_begin_in_the_same_moment_give_way(tmp_path, store_uri, monkeypatch):
    store = Objects(store_uri)
    put = store_lock.put_lock

    def both(held, owner):
        put(held, "other")  # just before ours, after we looked
        put(held, owner)

    monkeypatch.setattr(store_lock, "put_lock", both)
    with (
        pytest.raises(JournalError, match=r"written by another process \(other\)"),
        mirrored(store_uri, tmp_path / "a", print, new=True),
    ):
        pass
    assert store.names("lock") == ["other"]


@pytest.mark.parametrize("left", ["log/decisions.jsonl.000000000000", "checkpoints/00-000.pt"])
def test_a_store_with_what_is_left_of_a_study_gets_no_other(tmp_path, store_uri, left):
    """Its journal would be the new study's."""
    store = Objects(store_uri)
    store.make()
    store.put(left, b"{}")
    with pytest.raises(RecordError, match=f"{store_uri} has no study.json, and holds "):
        Driver(tmp_path / "a", store_uri)
    assert not (tmp_path / "a").exists()
    assert store.read(left) == b"{}"


def test_a_store_that_holds_a_study_gets_no_other(tmp_path, store_uri):
    Driver(tmp_path / "a", store_uri).__exit__()
    with pytest.raises(RecordError, match=f"{store_uri} already holds a study.*--name ANOTHER"):
        Driver(tmp_path / "b", store_uri)
    assert not (tmp_path / "b").exists()
    other = f"{store_uri}-2"
    Driver(tmp_path / "c", other).__exit__()
    with pytest.raises(RecordError, match="holds another study than"):
        fetch_study(other, tmp_path / "a")
    with pytest.raises(RecordError, match="holds no study"):
        fetch_study(f"{store_uri}-3", tmp_path / "d")


def test_a_store_that_does_not_answer_for_a_while_costs_nothing(tmp_path, store_uri):
    said = []
    with Driver(tmp_path / "a", store_uri, said) as driver:
        away = tmp_path / "store" / "runs"
        away.rename(tmp_path / "away")
        away.touch()
        drive(driver.study, most=6)
        time.sleep(0.3)
        with pytest.raises(StoreError, match="tiny"):
            driver.study.write_views()
        assert (tmp_path / "a" / "trials.parquet").is_file()
        away.unlink()
        (tmp_path / "away").rename(away)
        time.sleep(0.3)
        drive(driver.study)
        driver.study.write_views()
    assert sum("goes on, and is handed in when it answers" in text for text in said) == 1
    assert sum("answers again" in text for text in said) == 1
    fetch(store_uri, tmp_path / "b")
    assert decisions(tmp_path / "b") == decisions(tmp_path / "a")


@pytest.mark.filterwarnings("ignore::trainables.errors.RecordWarning")  # of one image alone
def test_results_of_workers_are_in_the_record(tmp_path, store_uri):
    import pandas as pd

    with Driver(tmp_path / "a", store_uri) as driver:
        drive(driver.study)
        store = Objects(store_uri)
        rows = pd.DataFrame({"image": ["i"], "truth": [1.0], "prediction": [2.0]})
        with store.writing("parts/00-seed1.parquet") as path:
            rows.to_parquet(path)
        with store.writing("samples/00-seed1.npz") as path:
            path.write_bytes(b"maps")
        driver.study.write_views()
        held = record.load(tmp_path / "a")
        assert list(held.per_image["trial"]) == ["00-seed1"]
        assert (tmp_path / "a" / "samples" / "00-seed1.npz").read_bytes() == b"maps"
        with store.writing("parts/00-seed1.parquet") as path:  # scored again
            rows.assign(prediction=3.0).to_parquet(path)
        driver.study.write_views()
        assert list(record.load(tmp_path / "a").per_image["prediction"]) == [3.0]


def test_a_run_is_looked_at_without_a_folder_and_is_shown_as_running(
    tmp_path, store_uri, monkeypatch
):
    from search.record.status import is_running

    with Driver(tmp_path / "a", store_uri) as driver:
        drive(driver.study, most=2)
        driver.mirror.flush()
        with looked_at(store_uri) as folder:
            assert len(record.load(folder).trials)
            assert is_running(folder)
    with looked_at(store_uri) as folder:
        assert not is_running(folder)
    assert not folder.exists()
    Objects(store_uri).put("lock/killed", b"")
    monkeypatch.setattr(store_lock, "LOST", 0.0)
    monkeypatch.setattr(store_lock, "EVERY", 0.05)
    with looked_at(store_uri) as folder:
        assert not is_running(folder)  # its lock is old, and nobody puts it anew
    assert json.loads((tmp_path / "a" / record.STUDY).read_text())["store"] == store_uri
