"""`doctor`: what it looks at, its exit status, and that it neither trains nor writes."""

from __future__ import annotations

import io
import json
import re
import socket
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from search.cli.doctor_command import _show
from search.cli.main import main
from search.run import doctor, machine, machine_checks
from search.run.machine_checks import Check, check_machine, gpu_checks
from search.run.machine_checks import machine_checks as look
from search.run.options import Options, PreflightError
from search.run.reach import download_fault
from search.spec.shipped import find_study
from search.spec.study_spec import load_spec
from trainables import find_task, places
from trainables.resnet import weights_name


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RESNET_TUNE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def no_ray(monkeypatch):
    """Ray's start takes seconds, and one test has it; there is room, whatever this disk holds."""
    monkeypatch.setattr("search.run.machine_checks._free_mb", lambda path: 100_000.0)
    monkeypatch.setattr("search.run.cluster.connect", lambda *a: None)
    monkeypatch.setattr("search.run.cluster.resources", list)
    monkeypatch.setattr("search.run.cluster.check_feasible", lambda *a: None)
    monkeypatch.setattr("search.run.cluster.disconnect", lambda: None)


def looked(capsys, *words):
    """Exit status, and checks by name."""
    status = main(["doctor", *words, "--json"])
    return status, {check["name"]: check for check in json.loads(capsys.readouterr().out)}


@pytest.mark.slow
def test_a_sound_machine_and_study_are_all_right_and_nothing_is_written(capsys, tmp_path):
    status, found = looked(capsys, "quickstart-cifar10")
    assert {check["state"] for check in found.values()} == {"ok"}, found
    assert status == 0
    assert {"study", "temporary folder", "run folder", "cache", "memory", "GPU"} < set(found)
    assert {"clock", "data", "networks", "weights", "Ray"} < set(found)
    assert list(tmp_path.iterdir()) == []


def test_every_check_is_a_line_and_the_last_counts_them(capsys, no_ray):
    assert main(["doctor", "quickstart-crowd"]) == 0
    lines = capsys.readouterr().out.splitlines()
    good = sum(line.startswith("ok ") for line in lines)
    assert lines[-1] == f"{good} checks: 0 with faults, 0 with warnings, {good} ok"


def test_a_study_file_with_faults_is_a_fault_beside_the_rest(capsys, no_ray):
    Path("x.toml").write_text('name = "x"\ntask = "cifar10"\nsed = 3\n')
    status, found = looked(capsys, "x.toml")
    assert status == 2
    assert any("sed" in item for item in found["study"]["items"])
    assert "networks" in found["the rest"]["text"]  # what was not looked at is told
    assert found["memory"]["state"] == "ok"


@pytest.fixture
def source(monkeypatch):
    """A host that data and weights would be downloaded from, on this machine."""

    class Head(BaseHTTPRequestHandler):
        status = 200

        def do_HEAD(self):
            self.send_response(Head.status)
            self.send_header("Content-Length", "170000000")
            self.end_headers()

        def log_message(self, *words):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Head) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        task = find_task("cifar10")
        monkeypatch.setattr("trainables.tasks.cifar10.TASK", replace(task, source=f"{url}/c.gz"))
        monkeypatch.setattr(doctor, "weights_url", lambda depth: f"{url}/{depth}.pth")
        yield Head
        server.shutdown()


def test_data_that_run_would_fetch_is_a_warning_and_offline_a_fault(capsys, no_ray, source):
    status, found = looked(capsys, "cifar10")
    assert (status, found["data"]["state"]) == (1, "warning")
    assert "`run` downloads it (170 MB) from 127.0.0.1" in found["data"]["text"]
    assert "`run` downloads them (850 MB) from 127.0.0.1" in found["weights"]["text"]  # 5 depths
    assert not Path("data").exists()
    status, found = looked(capsys, "cifar10", "--offline")
    assert (status, found["data"]["state"], found["weights"]["state"]) == (2, "fault", "fault")


def test_data_that_run_could_not_fetch_is_a_fault(capsys, no_ray, source):
    source.status = 404
    status, found = looked(capsys, "cifar10")
    assert (status, found["data"]["state"], found["weights"]["state"]) == (2, "fault", "fault")
    assert "it answers 404" in found["data"]["text"]


@pytest.mark.parametrize("name", ["http_proxy", "https_proxy"])
def test_a_proxy_that_does_not_answer_is_why_nothing_can_be_fetched(monkeypatch, name, closed):
    for one in ("http_proxy", "https_proxy", "no_proxy", "NO_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(one, raising=False)
    monkeypatch.setenv(name, f"http://127.0.0.1:{closed}")
    fault, _ = download_fault(f"{name.partition('_')[0]}://example.invalid/file")
    assert "refused" in fault


def test_a_host_that_is_silent_is_given_up(monkeypatch):
    monkeypatch.setattr("search.run.reach.SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        fault, _ = download_fault(f"http://127.0.0.1:{silent.getsockname()[1]}/file")
    assert "timed out" in fault or "no answer" in fault
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("option", ["--data-dir", "--weights-dir", "--runs-dir"])
@pytest.mark.parametrize("place", ["file", "file/below", "nowhere"])
def test_a_folder_that_is_none_is_told_as_run_tells_it(capsys, no_ray, source, option, place):
    Path("file").touch()
    words = ["quickstart-cifar10", "--depth", "18", option, place]
    if option == "--data-dir":
        words += ["--set", "fixed.edition=auto"]
    if option == "--weights-dir":
        words += ["--set", "weights=imagenet1k_v1"]
    checks = {"--data-dir": "data", "--weights-dir": "weights", "--runs-dir": "run folder"}
    status, found = looked(capsys, *words)
    check = found[checks[option]]
    if place == "nowhere" and option != "--data-dir":  # `run` makes it
        assert check["state"] != "fault"
        return
    assert (status, check["state"]) == (2, "fault")
    assert main(["run", *words]) == 2
    said = "; ".join(filter(None, (check["text"], check["fix"])))
    assert said in capsys.readouterr().err
    assert not Path("nowhere").exists()


@pytest.mark.parametrize("option", ["--data-dir", "--weights-dir", "--runs-dir"])
def test_a_file_in_a_folder_s_place_is_a_fault_without_a_study_too(capsys, no_ray, option):
    Path("file").touch()
    status, found = looked(capsys, option, "file")
    assert status == 2
    assert [c["text"].count("is a file, no folder") for c in found.values()].count(1) == 1


def test_a_run_folder_that_is_taken_is_a_fault(capsys, no_ray, make_study):
    make_study(Path("runs/quickstart-crowd")).close()
    status, found = looked(capsys, "quickstart-crowd")
    assert (status, found["run folder"]["state"]) == (2, "fault")
    assert main(["run", "quickstart-crowd"]) == 2
    assert found["run folder"]["text"] in capsys.readouterr().err
    assert looked(capsys, "quickstart-crowd", "--name", "other")[0] == 0


def test_weights_that_are_there_are_looked_at_though_others_are_not(capsys, no_ray, source):
    Path("weights").mkdir()
    Path("weights", weights_name(18)).write_bytes(b"no weights")
    main(["doctor", "cifar10", "--depth", "18,34", "--json"])
    found = [c for c in json.loads(capsys.readouterr().out) if c["name"] == "weights"]
    assert [c["state"] for c in found] == ["fault", "warning"]
    assert weights_name(18) in found[0]["text"]
    assert "depth 34 not in" in found[1]["text"]


def test_a_task_of_one_s_own_whose_record_could_not_be_read_is_a_fault(capsys, no_ray):
    Path("vague_mine.py").write_text(
        "import torch\nfrom dataclasses import replace\n"
        "from trainables.tasks.arrays import array_task\n"
        "pair = torch.ones(8, 2), torch.arange(8) % 2\n"
        "task = array_task('t', lambda d, c: {'train': pair, 'test': pair},"
        " lambda c: torch.nn.Linear(2, 2))\n"
        "TASK = replace(task, about={**task.says, 'side': 3})\n"
    )
    cells = "[cells]\nlr = [0.1, 0.2]\n[budget]\nmax_epochs = 1\n"
    Path("x.toml").write_text(f'name = "x"\ntask = "vague_mine:TASK"\n{cells}')
    status, found = looked(capsys, "x.toml")
    assert (status, found["task"]["state"]) == (2, "fault")
    assert "about.side is 3" in found["task"]["text"]


@pytest.mark.parametrize("words", [("--depth", "18"), ("--set", "seed=3"), ("--name", "x")])
def test_what_changes_a_study_needs_one(capsys, words):
    assert main(["doctor", *words]) == 2
    shown = capsys.readouterr()
    assert "changes a study, and none is named" in shown.err
    assert not shown.out


def shown_at(width, check):
    file = io.StringIO()
    tty = width > 0
    console = Console(file=file, force_terminal=tty, width=width or 160, no_color=True)
    _show(check, console)
    return re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue()).splitlines()


LONG = Check("data", "warning", "word " * 60, "mend " * 30, items=("item " * 40, "last"))


@pytest.mark.parametrize("width", [40, 80, 132])
def test_lines_are_as_wide_as_a_terminal_and_hang(width):
    lines = shown_at(width, LONG)
    assert max(map(len, lines)) <= width
    indent = 25 if width > 60 else 4
    assert {line[:indent].strip() for line in lines[1:]} == {""}
    told = " ".join(" ".join(lines).split()).removeprefix("warning data ")
    assert told == " ".join(" ".join([LONG.text, *LONG.items, LONG.fix]).split())


def test_lines_are_whole_where_there_is_no_terminal():
    assert len(shown_at(0, LONG)) == 4


def test_a_data_set_s_matters_are_a_line_each_worst_first():
    found = {"data": "X", "edition": "own", "train_images": 5, "test_images": 2}
    check = doctor._judged({**found, "notes": ["odd"], "warnings": ["bad", "worse"]})
    assert (check.state, check.items) == ("warning", ("bad", "worse", "odd"))
    assert len(shown_at(0, check)) == 4
    assert doctor._judged({**found, "notes": ["odd"]}).state == "ok"


def test_own_images_are_told_with_their_classes_and_how_many_each_has(capsys, no_ray):
    draw = np.random.default_rng(0)
    for split, counts in (("train", (4, 3)), ("test", (2, 1))):
        for name, count in zip(("ant", "bee"), counts, strict=True):
            place = Path("own", split, name)
            place.mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{number}.png")
    _, found = looked(capsys, "--data-dir", "own")
    assert found["data"]["state"] == "ok"
    assert found["data"]["text"] == (
        "images of own (files), 7 training and 3 test images, 2 classes (training + test images, "
        "before validation is cut off): ant 4 + 2, bee 3 + 1"
    )


def test_of_many_classes_the_first_are_told():
    found = {"data": "X", "edition": "files", "train_images": 40, "test_images": 20}
    names = [f"c{n:02d}" for n in range(20)]
    counts = {"train_per_class": [2] * 20, "test_per_class": [1] * 20}
    text = doctor._judged({**found, "classes": names, **counts}).text
    assert "20 classes" in text
    assert text.endswith("c10 2 + 1, c11 2 + 1 and 8 more")
    # a task of one's own may mean something else by it
    assert "classes" not in doctor._judged({**found, "classes": 20, "train_per_class": 3}).text


def test_damaged_data_is_told_with_every_fault(capsys, no_ray):
    Path("data").mkdir()
    for part in ("train", "test"):
        Path(f"data/{part}-00000-of-00002.parquet").write_bytes(b"PAR1 cut off")
    status, found = looked(capsys, "cifar10")
    assert (status, found["data"]["state"]) == (2, "fault")
    assert "4 faults of the data" in found["data"]["text"]
    status, found = looked(capsys)  # without a study, what is there is looked at
    assert (status, found["data"]["state"]) == (2, "fault")


def test_own_weights_are_looked_at(capsys, no_ray):
    Path("weights/mine").mkdir(parents=True)
    Path("weights/mine/resnet18.pth").write_bytes(b"no weights")
    words = ["quickstart-cifar10", "--set", 'weights="mine"', "--depth", "18"]
    status, found = looked(capsys, *words)
    assert (status, found["weights"]["state"]) == (2, "fault")
    assert "resnet18.pth" in found["weights"]["text"]


def test_settings_that_seldom_fit_are_a_warning(capsys, no_ray):
    words = ("quickstart-crowd", "--set", "fixed.crop=64", "--set", "fixed.sigma=40")
    status, found = looked(capsys, *words)
    assert (status, found["settings"]["state"]) == (1, "warning")
    assert "sigma" in found["settings"]["text"]


def test_nothing_to_look_at_is_told(capsys, no_ray):
    Path("empty").mkdir()
    status, found = looked(capsys, "--data-dir", "empty")
    assert status == 1
    assert "no data set in" in found["data"]["text"]


# ---- the machine


def options(tmp_path, **changed):
    held = {"data_dir": tmp_path, "weights_dir": tmp_path, "runs_dir": tmp_path / "runs"}
    return Options(**{**held, "address": "local", "say": lambda text: None, **changed})


SPEC = load_spec(find_study("quickstart-cifar10"), [])[0]


def state_of(name, tmp_path, spec=SPEC, **changed):
    return next(c for c in look(spec, options(tmp_path, **changed)) if c.name == name)


def test_a_full_disk_is_a_fault_and_a_short_one_a_warning(tmp_path, monkeypatch):
    for free, state in ((0, "fault"), (10, "warning"), (900, "warning"), (90_000, "ok")):
        usage = SimpleNamespace(free=free * 2**20, total=2**40)
        monkeypatch.setattr(machine_checks.shutil, "disk_usage", lambda path, u=usage: u)
        assert state_of("run folder", tmp_path).state == state
        said = []
        held = options(tmp_path, say=said.append)
        if state == "fault":
            with pytest.raises(PreflightError, match=r"run folder: .* its disk is full"):
                check_machine(SPEC, held)
            continue
        check_machine(SPEC, held)
        assert any("run folder" in text for text in said) is (state == "warning")


def test_a_run_folder_that_cannot_be_made_is_a_fault(tmp_path):
    (tmp_path / "file").touch()
    check = state_of("run folder", tmp_path, runs_dir=tmp_path / "file" / "runs")
    assert (check.state, "lies below a file" in check.text) == ("fault", True)


def test_a_run_folder_where_no_file_can_be_is_no_full_disk_and_run_says_the_same(capsys):
    if not Path("/proc").is_dir():
        pytest.skip("no file system at hand that holds no files")
    check = state_of("run folder", Path("/proc/none"))
    assert check.state == "fault" and "holds no files" in check.text
    assert main(["run", "quickstart-crowd", "--offline", "--runs-dir", "/proc/none"]) == 2
    assert f"{check.text.partition(' is on')[2]}" in capsys.readouterr().err


def test_too_little_memory_is_a_fault_or_a_warning(tmp_path, monkeypatch):
    for free, state in ((100, "fault"), (1000, "warning"), (90_000, "ok"), (None, "ok")):
        monkeypatch.setattr(machine, "memory_mb", lambda held=free: held)
        monkeypatch.setattr(machine, "cores", lambda: 4)
        assert state_of("memory", tmp_path).state == state


def test_memory_is_that_of_the_machine():
    held = machine.memory_mb()
    assert held is None or held > 50
    assert np.isfinite(held or 0)


def test_no_fit_temporary_folder_is_a_fault(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "temporary_folder", lambda: (None, ["TMPDIR = /x is full"]))
    assert state_of("temporary folder", tmp_path).state == "fault"
    monkeypatch.setattr(places, "temporary_folder", lambda: (tmp_path, ["TMPDIR = /x is full"]))
    check = state_of("temporary folder", tmp_path)
    assert (check.state, "is used instead" in check.text) == ("warning", True)


def test_a_clock_before_the_program_s_own_files_is_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(machine_checks.time, "time", lambda: 0.0)
    assert state_of("clock", tmp_path).state == "warning"


def test_a_gpu_without_mps_or_compiler_is_a_warning(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda i: "card")
    monkeypatch.setattr(machine_checks, "mps_active", lambda: False)
    monkeypatch.setattr(machine_checks.shutil, "which", lambda name: None)
    found = {check.name: check.state for check in gpu_checks()}
    assert found == {"GPU": "ok", "MPS": "warning", "C compiler": "warning"}


def test_a_driver_that_torch_cannot_use_is_a_warning(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(machine_checks.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    (check,) = gpu_checks()
    assert (check.state, "sees no GPU" in check.text) == ("warning", True)
