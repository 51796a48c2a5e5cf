"""The live page: what it says, who may ask for it, what it serves, and how it ends."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.cli import main
from analysis.display import live, live_files, live_server
from analysis.display.live import DAMAGED, WAITING, Live
from analysis.display.live_files import page
from analysis.display.live_server import Server
from search import record
from search.record.run_folder import RunFolder
from search.record.status import BEGINS, DONE, KILLED, RUNNING, SHORT, state_of, status_rows
from tests.search import conftest
from tests.search.conftest import TEXT, drive

make_study = conftest.make_study


@pytest.fixture
def at_once(monkeypatch):
    """Every question looks at the run folder anew."""
    monkeypatch.setattr(live, "EVERY", 0.0)
    monkeypatch.setattr(live, "SHARE", 0)


@pytest.fixture
def serve(tmp_path):
    """Serve runs; returns a function that asks: (method, path, headers) -> answer with body."""
    servers = []

    def start(*runs):
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        server = Server([Path(run) for run in runs], 0, scratch)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

        def ask(method="GET", path="/", host=None, **headers):
            line = http.client.HTTPConnection(*server.server_address, timeout=30)
            line.putrequest(method, path, skip_host=True)
            for name, value in {"Host": host or "127.0.0.1:1", **headers}.items():
                line.putheader(name.replace("_", "-"), value)
            line.endheaders()
            answer = line.getresponse()
            answer.body = answer.read()
            line.close()
            return answer

        ask.server = server
        return ask

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def stood(run):
    return Live(run, str(run)).now()[1]


def test_of_an_array_each_job_says_how_long_an_epoch_of_all_takes(make_study, tmp_path):
    """Rows hold each one's share; all of them have one worker."""
    text = TEXT + "[resources]\narray = 3\n"
    study = make_study(text=text)
    study.places = replace(study.places, arrays={0: 3, 1: 3})
    jobs = study.ask().members()
    for job in jobs:
        study.epoch(job.trial, {"epoch": 1, "lr": 0.1, "seconds": 3.0})
    shown = Live(study.folder, "tiny").now()[1]
    assert [held["pace"] for held in shown["jobs"]] == ["9 s an epoch"] * 3
    assert "; 1 job at a time; about " in shown["outlook"]["text"]
    for job in jobs[:2]:  # the third has diverged, and is out until the array ends
        study.epoch(job.trial, {"epoch": 2, "lr": 0.1, "seconds": 3.0})
    shown = Live(study.folder, "tiny").now()[1]
    assert [held["pace"] for held in shown["jobs"]][:2] == ["6 s an epoch"] * 2
    study.run.close()


def test_a_member_that_goes_on_by_itself_has_no_pace_of_its_array(make_study, at_once):
    study = make_study(text=TEXT + "[resources]\narray = 3\n")
    study.places = replace(study.places, arrays={0: 3, 1: 3})
    page_ = Live(study.folder, "tiny")
    jobs = study.ask().members()
    for job in jobs:
        study.epoch(job.trial, {"epoch": 1, "lr": 0.1, "seconds": 3.0})
    assert page_.now()[1]["jobs"][1]["pace"] == "9 s an epoch"
    for job in jobs:
        study.lost(job.trial, "process", "", "its worker process died", apart=True)
    again = [study.ask() for _ in jobs]
    assert not any(job.others for job in again)
    shown = page_.now()[1]["jobs"]
    assert [held["trial"] for held in shown] == [job.trial for job in jobs]
    assert shown[1]["pace"] == ""
    study.run.close()


@pytest.mark.long
def test_it_says_what_status_says_at_every_time_of_a_study(make_study, tmp_path, at_once):
    run = tmp_path / "tiny"
    page_ = Live(run, "tiny")
    assert page_.now()[1]["state"] == WAITING
    with RunFolder.make(run):
        assert BEGINS in page_.now()[1]["title"]
    study = make_study()
    drive(study, most=7)
    job = study.ask()
    study.epoch(job.trial, {"epoch": job.train["from_epoch"] + 1, "lr": 0.1, "seconds": 3.0})
    shown = page_.now()[1]
    assert shown["state"] == RUNNING
    head, rows = status_rows(record.load(run))
    assert shown["head"][: len(head)] == head
    assert [row[: len(head)] for row in shown["cells"]] == rows
    assert [held["trial"] for held in shown["jobs"]] == [job.trial]
    assert shown["jobs"][0]["pace"] == "3 s an epoch"
    assert shown["outlook"]["done"] <= shown["outlook"]["all"]
    version = page_.version
    assert page_.now()[1] == shown
    assert page_.version == version
    study.run.close()
    shown = page_.now()[1]
    assert (shown["state"], shown["jobs"], shown["outlook"]) == (KILLED, [], None)
    assert "go on: resnet-search resume tiny" in shown["said"]
    study = make_study()
    drive(study)
    study.close()
    shown = page_.now()[1]
    held = record.load(run)
    assert shown["state"] == state_of(held) in (DONE, SHORT)
    lost = held.trials[held.trials["status"].isin(["failed", "diverged"])]
    assert {row[0] for row in shown["lost"]} == set(lost["trial"])
    chosen = held.decisions[held.decisions["verdict"] == "select"]
    for cell, trial in zip(chosen["cell"], chosen["trial"], strict=True):
        assert f"({trial})" in shown["cells"][cell][-1]
    seeds = held.trials.loc[held.trials["stage"] == "confirm", "trial"]
    drawn = {line["trial"] for curve in shown["curves"] for line in curve["lines"]}
    assert drawn >= set(seeds) | set(chosen["trial"])
    with (run / record.JOURNAL).open("ab") as file:
        file.write(b"{}\n")
    assert page_.now()[1]["state"] == DAMAGED
    assert "decisions.jsonl, line" in page_.now()[1]["title"]


@pytest.mark.long
def test_rungs_and_best_are_of_the_search(make_study):
    study = make_study()
    drive(study)
    study.close()
    shown, held = stood(study.folder), record.load(study.folder)
    own = held.trials[(held.trials["stage"] != "confirm") & (held.trials["cell"] == 0)]
    reached = "/".join(str(int((own["epochs"] >= rung).sum())) for rung in held.study["rungs"])
    assert shown["cells"][0][-3] == reached
    best = own.dropna(subset=["value"]).sort_values("value").iloc[-1]
    assert shown["cells"][0][-2] == f"{best.value:.4g} at {best.value_epoch} ({best.trial})"


def test_it_answers_by_the_names_of_this_machine(serve, tmp_path):
    ask = serve(tmp_path / "none")
    for host in ("127.0.0.1", "localhost:8000", "LOCALHOST:1"):
        assert ask(host=host).status == 200


OTHERS = ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil:1", " ")
OTHERS += ("a@localhost", "localhost:1:evil", "10.0.0.1:80", "localhost:x")


def test_another_host_is_refused(serve, tmp_path):
    ask = serve(tmp_path / "none")
    for host in OTHERS:
        for path in ("/", "/state", "/runs/0/report/index.html", "/runs/0/build"):
            method = "POST" if path.endswith("build") else "GET"
            answer = ask(method, path, host=host, X_Watch="build")
            assert answer.status == 403, (host, path)
            assert b"none" not in answer.body


def test_a_report_is_served_and_nothing_beside_it(serve, tmp_path, make_study):
    study = make_study()
    study.run.close()
    report = study.folder / "report"
    (report / "tables").mkdir(parents=True)
    (report / "index.html").write_text("whole")
    (report / "tables" / "a b.csv").write_text("1")
    (report / "secret.key").write_text("no")
    (report / "out.html").symlink_to(study.folder / record.STUDY)
    ask = serve(study.folder)
    answer = ask(path="/runs/0/report/index.html")
    assert (answer.status, answer.body) == (200, b"whole")
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert ask(path="/runs/0/report/tables/a%20b.csv").body == b"1"
    for path in (
        *("/runs/0/report/../study.json", "/runs/0/report/%2e%2e/study.json", "/runs/0/report/"),
        *(
            "/runs/0/report//etc/passwd",
            "/runs/0/report/%2fetc%2fpasswd",
            "/runs/1/report/index.html",
        ),
        *("/runs/0/report/out.html", "/runs/0/report/secret.key", "/runs/0/report/tables"),
        *("/runs/-1/report/index.html", "/runs/0/report/a%00.html"),
        *("/study.json", "/runs/0/study.json", f"/runs/0/report/{'a' * 5000}.html"),
    ):
        assert ask(path=path).status == 404, path


def test_state_is_sent_once_and_then_only_what_is_new(serve, make_study, at_once):
    study = make_study()
    drive(study, most=2)
    ask = serve(study.folder)
    first = ask(path="/state")
    version = json.loads(first.body)["version"]
    again = ask(path=f"/state?since={version}")
    assert (again.status, again.body) == (204, b"")
    drive(study, most=1)
    assert ask(path=f"/state?since={version}").status == 200
    assert ask(path="/state?since=of-another-server").status == 200
    assert ask("HEAD", "/state").body == b""
    study.run.close()


def test_a_report_is_built_only_when_the_page_itself_asks(serve, make_study, monkeypatch):
    study = make_study()
    study.run.close()
    asked = []
    monkeypatch.setattr(live_server, "build_apart", lambda run, *_: asked.append(run) or "no")
    ask = serve(study.folder)
    assert ask("POST", "/runs/0/build").status == 403
    assert ask("GET", "/runs/0/build").status == 404
    assert ask("POST", "/runs/7/build", X_Watch="build").status == 404
    assert not asked
    assert json.loads(ask("POST", "/runs/0/build", X_Watch="build").body) == {"error": "no"}
    assert asked == [study.folder]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_report_that_is_built_leaves_the_run_folder_as_it_is(serve, make_study):
    study = make_study()
    drive(study)
    study.close()
    before = {path: path.stat().st_mtime_ns for path in study.folder.rglob("*")}
    ask = serve(study.folder)
    processes = []
    found = live_files.build_apart(study.folder, ask.server.scratch / "0", processes.append)
    assert found == ""
    assert b"tiny" in ask(path="/runs/0/built/index.html").body
    assert {path: path.stat().st_mtime_ns for path in study.folder.rglob("*")} == before
    why = live_files.build_apart(study.folder / "none", ask.server.scratch / "1", processes.append)
    assert "is no run folder" in why
    assert [process.returncode for process in processes] == [0, 2]


@pytest.mark.long
def test_what_is_being_built_ends_with_the_server(tmp_path, monkeypatch):
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    server = Server([tmp_path / "none"], 0, tmp_path)
    with subprocess.Popen(sleeper, text=True) as process:
        server.builds.append(process)
        server.server_close()
        assert process.returncode == -signal.SIGKILL


def test_a_folder_that_may_not_be_read_is_told(make_study, monkeypatch):
    study = make_study()
    study.run.close()

    def refuse(self):
        raise PermissionError(13, "Permission denied", str(study.folder / record.JOURNAL))

    monkeypatch.setattr(live.Follower, "look", refuse)
    shown = stood(study.folder)
    assert shown["state"] == DAMAGED
    assert "decisions.jsonl: Permission denied" in shown["title"]


def test_the_page_holds_all_that_it_needs_and_escapes_names():
    text = page(["<b>&"], "nonce1")
    assert "&lt;b&gt;&amp;" in text
    assert "<b>&</b>" not in text
    assert 'nonce="nonce1"' in text
    outside = text.replace("http://www.w3.org/2000/svg", "")
    assert "http://" not in outside
    assert "https://" not in outside
    assert "innerHTML" not in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["s3://bucket/runs/mine"], "s3://bucket/runs/mine is at a URI"),
        (["runs/a", "runs/../runs/a"], "named twice"),
        (["runs/a", "--port", "70000"], "--port 70000 is no port"),
    ],
)
def test_what_cannot_be_watched_is_one_line(arguments, said, capsys):
    assert main(["watch", *arguments]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert said in told


def test_a_port_in_use_is_one_line(capsys):
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        assert main(["watch", "runs/a", "--port", str(port)]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"--port {port} is in use" in told


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_one_line_and_status_0(tmp_path, number):
    command = [sys.executable, "-m", "analysis", "watch", str(tmp_path / "none")]
    root = Path(__file__).parents[3]
    with subprocess.Popen(
        command,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        first = process.stdout.readline()
        assert "http://127.0.0.1:" in first
        process.send_signal(number)
        rest, errors = process.communicate(timeout=50)
    assert (process.returncode, rest, errors) == (0, "resnet-report: watch ended\n", "")
    assert not list(tmp_path.glob("resnet-report-*"))


def test_version_and_state_are_of_one_look_whoever_else_asks(tmp_path, monkeypatch):
    """A page that got an old state under a new version would never ask for the new one."""
    page_ = Live(tmp_path / "run", "run")
    told = []

    def look():
        page_.version += 1
        page_._state = {"of": page_.version}

    monkeypatch.setattr(page_, "_look", look)
    monkeypatch.setattr(page_, "_again", 0.0)

    def ask():
        for _ in range(200):
            page_._again = 0.0
            told.append(page_.now())

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert len(told) == 800
    assert all(state == {"of": version} for version, state in told)


def test_a_look_that_fails_in_a_way_of_its_own_is_not_tried_again_at_once(tmp_path, monkeypatch):
    page_, looks = Live(tmp_path / "run", "run"), []

    def look():
        looks.append(1)
        raise KeyError("odd")

    monkeypatch.setattr(page_, "_look", look)
    with pytest.raises(KeyError):
        page_.now()[1]
    page_.now()[1]
    assert len(looks) == 1
