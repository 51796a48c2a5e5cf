"""An address is looked at in seconds, before anything else, and refused in one line."""

import os
import socket
import tempfile
import threading
import time
from pathlib import Path

import pytest

from search.cli.main import main
from search.run.errors import ExecutionError
from search.run.options import PreflightError
from search.run.reach import PREFACE, check_address
from tests.search.conftest import drive


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("RAY_ADDRESS", "RAY_TMPDIR", "RAY_USE_TLS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))


def listener(answer):
    """A server's port; it says `answer` to whoever says something."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                link, _ = server.accept()
            except OSError:
                return
            with link:
                link.recv(len(PREFACE))
                link.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return server, server.getsockname()[1]


@pytest.fixture
def other():
    """A port at which something listens that is no cluster."""
    server, port = listener(b"HTTP/1.0 400 Bad request\r\n\r\n")
    yield port
    server.close()


@pytest.mark.parametrize(
    "address", ["foo", "foo:bar", ":6379", "h:0", "h:70000", "http://h:1", "h:1:2", "a b:1", ""]
)
def test_what_is_no_address_is_told(address):
    with pytest.raises(PreflightError, match="is no address: local, auto, or the HOST:PORT"):
        check_address(address)


def test_the_client_s_address_is_refused():
    with pytest.raises(PreflightError, match="keeps the journal from Tune"):
        check_address("ray://127.0.0.1:10001")


def test_where_nothing_listens_is_told_at_once(closed):
    for address in (f"127.0.0.1:{closed}", f"localhost:{closed}", "no.such.host.invalid:6379"):
        began = time.monotonic()
        with pytest.raises(ExecutionError, match=f"nothing answers at --address {address}"):
            check_address(address)
        assert time.monotonic() - began < 10


def test_something_else_that_listens_is_no_cluster(other):
    with pytest.raises(ExecutionError, match="something else listens there"):
        check_address(f"127.0.0.1:{other}")


def test_a_server_of_grpc_is_let_through():
    server, port = listener(bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
    check_address(f"127.0.0.1:{port}")
    server.close()


def test_loopback_is_what_ray_takes_it_for(other):
    server, port = listener(bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
    with pytest.raises(ExecutionError, match=r"\(127\.0\.0\.2 to Ray\)"):
        check_address(f"localhost:{other}", lambda: "127.0.0.2")
    check_address(f"localhost:{port}", lambda: "127.0.0.1")
    server.close()


def test_auto_is_looked_at_where_it_is_known_what_it_means(monkeypatch, closed, tmp_path):
    check_address("auto")  # nothing says so: Ray looks itself
    left = tmp_path / "tmp" / "ray" / "ray_current_cluster"  # of a cluster that was killed
    left.parent.mkdir(parents=True)
    left.write_text(f"127.0.0.1:{closed}")
    with pytest.raises(ExecutionError, match=r"which is 127\.0\.0\.1:.* by .*ray_current"):
        check_address("auto")
    monkeypatch.setenv("RAY_ADDRESS", "nonsense")
    with pytest.raises(PreflightError, match="which is nonsense by RAY_ADDRESS"):
        check_address("auto")


def test_a_run_is_refused_before_anything_else(capfd, other, closed):
    began = time.monotonic()
    for address, status in ((f"127.0.0.1:{other}", 1), (f"127.0.0.1:{closed}", 1), ("foo", 2)):
        assert main(["run", "quickstart-cifar10", "--address", address]) == status
        shown = capfd.readouterr()
        assert shown.out == ""
        assert len(shown.err.splitlines()) == 1
        assert f"--address {address}" in shown.err
    assert not Path("runs").exists()
    assert time.monotonic() - began < 30


def test_a_resume_is_refused_before_its_data_is_read(capfd, closed, make_study, tmp_path):
    study = make_study(tmp_path / "tiny")
    drive(study, most=2)
    study.close()
    capfd.readouterr()
    assert main(["resume", "tiny", "--address", f"127.0.0.1:{closed}"]) == 1
    shown = capfd.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1


@pytest.mark.parametrize("given", [False, True])
def test_a_resume_whose_cluster_is_gone_is_told_what_helps(
    capfd, closed, make_study, tmp_path, given
):
    """Without --address it goes to the cluster of its last session: to leave it out is no help."""
    study = make_study(tmp_path / "tiny")
    study.run.add_session("run", {"address": f"127.0.0.1:{closed}"})
    study.close()
    capfd.readouterr()
    more = ["--address", f"127.0.0.1:{closed}"] if given else []
    assert main(["resume", str(tmp_path / "tiny"), *more]) == 1
    said = capfd.readouterr().err
    assert f"nothing answers at --address 127.0.0.1:{closed}" in said
    assert (f"{closed}, as in the last session" in said) is not given
    assert "give `--address local` to run on this machine" in said
    assert "leave --address out" not in said


@pytest.mark.long
def test_what_ray_prints_while_it_tries_is_kept_for_the_reason(capfd):
    from search.run import cluster  # imports ray

    capfd.readouterr()
    with tempfile.TemporaryFile(dir=Path()) as lines:
        with cluster._printed_into(lines):
            os.write(2, b"gcs_client: once\ngcs_client: no token\n")
        said = cluster._reason(ConnectionError("failed\nmore"), lines)
    assert said == "failed; gcs_client: no token"
    assert capfd.readouterr().err == ""


def test_doctor_says_it_in_one_line(capfd, other):
    assert main(["doctor", "--address", f"127.0.0.1:{other}"]) == 2
    shown = capfd.readouterr()
    assert shown.err == ""
    assert [line[:7] for line in shown.out.splitlines() if "something else" in line] == ["fault  "]
