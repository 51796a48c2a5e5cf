"""What is handed in to a store comes back whole or not at all, whatever the store does."""

import hashlib
import os
import threading
import time
from pathlib import Path

import pytest
from pyarrow import fs

from search.record import UserError
from search.run import objects
from search.run.errors import NotSharedError, StoreError
from search.run.objects import Objects
from search.run.scratch import SCRATCH


@pytest.fixture(autouse=True)
def _no_long_waits(request, monkeypatch):
    if "s3" not in request.fixturenames:
        monkeypatch.setattr(objects, "WAITS", (0.01, 0.02))


def versions(uri, name):
    """Paths of an object's versions, oldest first."""
    files, base = fs.FileSystem.from_uri(uri)
    found = files.get_file_info(fs.FileSelector(f"{base}/{name}", allow_not_found=True))
    return [info.path for info in sorted(found, key=lambda info: (info.mtime, info.path))]


def plant(uri, name, body, claims=None):
    """An object under the name that another body, or this one, would have."""
    files, base = fs.FileSystem.from_uri(uri)
    claims = body if claims is None else claims
    path = f"{base}/{name}/{time.time_ns()}-{hashlib.sha256(claims).hexdigest()}-{len(claims)}"
    if files.type_name == "local":
        files.create_dir(path.rpartition("/")[0], recursive=True)
    with files.open_output_stream(path) as file:
        file.write(body)
    return path


def test_what_was_handed_in_last_comes_back_and_nothing_else_stays(uri, tmp_path):
    store = Objects(uri)
    assert store.read("parts/a") is None
    assert not store.get("parts/a", tmp_path / "a")
    assert not (tmp_path / "a").exists()
    for body in (b"first", b"", b"last" * 10**6):
        (tmp_path / "a").write_bytes(body)
        store.put("parts/a", tmp_path / "a")
        assert store.read("parts/a") == body  # though its clock may show the same second
    store.put("parts/b", b"other")
    assert store.names("parts") == ["a", "b"]
    assert len(versions(uri, "parts/a")) == 1
    assert store.get("parts/a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == body
    store.remove("parts/a")
    store.remove("parts/a")
    assert store.read("parts/a") is None
    assert store.names("parts") == ["b"]


@pytest.mark.parametrize("torn", [b"new", b"new version, chang.d", b""])
def test_of_a_newest_that_is_torn_or_changed_the_one_before_is_taken(uri, torn, tmp_path):
    store = Objects(uri)
    store.put("checkpoints/t.pt", b"old version")
    path = plant(uri, "checkpoints/t.pt", torn, claims=b"new version, changed")
    assert versions(uri, "checkpoints/t.pt")[-1] == path
    assert store.read("checkpoints/t.pt") == b"old version"
    store.put("checkpoints/t.pt", b"newer still")
    assert store.read("checkpoints/t.pt") == b"newer still"


def test_where_no_version_is_whole_that_is_told(uri, tmp_path):
    store = Objects(uri)
    plant(uri, "checkpoints/t.pt", b"half", claims=b"half and half")
    with pytest.raises(StoreError, match=f"{uri}/checkpoints/t.pt: no version.*remove it"):
        store.get("checkpoints/t.pt", tmp_path / "t.pt")


def test_what_another_tool_has_left_is_no_version(uri, tmp_path):
    store = Objects(uri)
    store.put("parts/a", b"ours")
    files, base = fs.FileSystem.from_uri(uri)
    with files.open_output_stream(f"{base}/parts/a/.listing") as file:
        file.write(b"theirs")
    assert store.read("parts/a") == b"ours"
    assert store.names("parts") == ["a"]


def test_two_that_hand_in_at_once_do_not_remove_each_others(tmp_path):
    """A worker outlives its driver by seconds; each would find the other's to be an older one."""
    uri = f"file://{tmp_path}/store"
    Objects(uri).make()
    paths = [Path(plant(uri, "a", body)) for body in (b"one", b"two")]
    for path in paths:
        os.utime(path, (2_000_000_000, 2_000_000_000))  # as new as what comes, or newer
    Objects(uri).put("a", b"three")
    assert all(path.exists() for path in paths)


def test_refused_writes_are_tried_again(s3, bucket):
    s3.refuse = 6
    Objects(f"{bucket}/x").put("a", b"body")
    assert s3.seen == 6
    assert Objects(f"{bucket}/x").read("a") == b"body"


def test_a_read_that_is_cut_off_is_read_again(s3, bucket):
    store, body = Objects(f"{bucket}/x"), os.urandom(100_000)
    store.put("a", body)
    s3.cut = 1
    assert store.read("a") == body
    assert s3.seen == 1


def test_a_server_that_is_gone_for_a_while_is_waited_for(s3, bucket):
    store = Objects(f"{bucket}/x")
    store.put("a", b"before")
    s3.gone_for(3)
    started = time.monotonic()
    store.put("a", b"after")
    assert time.monotonic() - started > 2
    assert store.read("a") == b"after"


def test_a_store_that_refuses_for_good_is_told_by_uri_and_its_words(s3, bucket, monkeypatch):
    monkeypatch.setattr(objects, "WAITS", (0.01,))
    s3.refuse = 10**6
    with pytest.raises(StoreError, match=rf"^{bucket}/x/a: .*made to fail") as held:
        Objects(f"{bucket}/x").put("a", b"body")
    assert "\n" not in str(held.value)
    s3.refuse = 0
    with pytest.raises(StoreError, match="bucket does not exist"):
        Objects("s3://no-such-bucket/x").put("a", b"body")


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("s3://key:secret@bucket/runs", "must hold no password"),
        ("ftp://host/runs", "cannot be opened"),
        ("s3:/runs", "cannot be opened"),
        ("file://host/runs", "cannot be opened"),
    ],
)
def test_a_uri_that_cannot_be_is_refused(uri, said):
    with pytest.raises(UserError, match=said) as held:
        Objects(uri)
    assert "secret" not in str(held.value)


def test_a_study_that_is_not_there_is_told(tmp_path):
    uri = f"file://{tmp_path}/store"
    store = Objects(uri)
    with pytest.raises(NotSharedError, match=rf"node .* does not find the study at {uri}"):
        store.check("r1")
    assert not (tmp_path / "store").exists()
    with pytest.raises(StoreError, match="is not there, or not mounted"):
        store.put("parts/a", b"")
    assert not (tmp_path / "store").exists()
    store.make()
    store.put("study.json", b'{"run_id": "r2"}')
    with pytest.raises(NotSharedError, match="another study"):
        store.check("r1")
    store.check("r2")
    store.check("")


def test_scratch_that_a_killed_process_has_left_goes(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left = tmp_path / f"{SCRATCH}left"
    left.mkdir()
    (left / ".held").touch()
    os.utime(left, (0, 0))
    store = Objects(f"file://{tmp_path}/store")
    store.make()
    with store.checkpoint("t") as (path, hand_in):
        assert not left.exists()
        os.utime(path.parent, (0, 0))  # ours is held, however old
        with store.checkpoint("u"):
            assert path.parent.is_dir()
        path.write_bytes(b"trained")
        hand_in(path)
    assert [p.name for p in tmp_path.iterdir()] == ["store"]
    assert store.read("checkpoints/t.pt") == b"trained"


def test_a_checkpoint_that_was_refused_meanwhile_is_handed_in_at_the_end(tmp_path, monkeypatch):
    (tmp_path / "store").touch()  # no folder can be made there
    store = Objects(f"file://{tmp_path}/store/x")
    with store.checkpoint("t") as (path, hand_in):
        path.write_bytes(b"trained")
        hand_in(path)
        (tmp_path / "store").unlink()
        (tmp_path / "store" / "x").mkdir(parents=True)
    assert store.read("checkpoints/t.pt") == b"trained"
    (tmp_path / "away").touch()
    store = Objects(f"file://{tmp_path}/away/x")
    with pytest.raises(StoreError, match="away/x"), store.checkpoint("t") as (path, hand_in):
        path.write_bytes(b"trained")
        hand_in(path)


def test_what_goes_while_a_folder_is_fetched_is_left_out(tmp_path, monkeypatch):
    """A study that runs removes checkpoints; the list of them is older than the fetch of each."""
    store = Objects(f"file://{tmp_path}/store")
    store.make()
    for name in ("a.pt", "b.pt", "c.pt"):
        store.put(f"checkpoints/{name}", name.encode())
    get = store.get

    def late(name, path):
        store.remove("checkpoints/b.pt")
        return get(name, path)

    monkeypatch.setattr(store, "get", late)
    store.fetch("checkpoints", tmp_path / "to")
    found = {path.name: path.read_bytes() for path in (tmp_path / "to").iterdir()}
    assert found == {"a.pt": b"a.pt", "c.pt": b"c.pt"}


def test_many_threads_use_one_store(tmp_path):
    store = Objects(f"file://{tmp_path}/store")
    store.make()
    threads = [
        threading.Thread(target=store.put, args=(f"parts/{n}", str(n).encode())) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: store.read(f"parts/{name}") for name in store.names("parts")} == {
        str(n): str(n).encode() for n in range(8)
    }


def test_a_checkpoint_that_was_cut_off_as_it_was_handed_in_is_none(uri):
    """Else its trial could go on nowhere, and would fail for good after some losses."""
    store = Objects(uri)
    plant(uri, "checkpoints/t.pt", b"cut", claims=b"cut off")
    with store.checkpoint("t") as (path, hand_in):
        assert not path.exists()
        path.write_bytes(b"anew")
        hand_in(path)
    with store.checkpoint("t") as (path, _):
        assert path.read_bytes() == b"anew"
    plant(uri, "checkpoints/u.pt", b"changed", claims=b"another")
    with pytest.raises(StoreError, match="no version there"), store.checkpoint("u"):
        pass


def test_a_write_that_fails_leaves_nothing_half_made(tmp_path, monkeypatch):
    """A full disk would keep it, and stay full."""
    folder = tmp_path / "store"
    folder.mkdir()
    store = Objects(f"file://{folder}")

    def full(file, out, size):
        out.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(StoreError, match="No space left"):
        store.put("checkpoints/t.pt", b"whole")
    assert not [path for path in folder.rglob("*") if path.is_file()]
