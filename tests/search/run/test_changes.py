"""`resume` holds what is here against the record: all that differs is listed, before Ray."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from analysis.cli import main as report
from analysis.findings.cells import cell_values
from search import record
from search.cli.main import main
from search.record import manifest
from search.record.run_folder import RunFolder
from search.run import machine
from search.run.changes import find_changes, other_versions
from search.run.inputs import compared
from search.run.job_form import Places
from search.run.options import Options, PreflightError
from search.run.preflight import fingerprints
from search.run.session import Beginning, begin_session
from search.schedule.search import Search
from search.spec.overrides import apply_overrides
from search.spec.study_spec import parse_spec, recorded_spec
from tests.search.conftest import TEXT, Silent, drive, open_study

STUDY = TEXT.replace('edition = "synthetic"', 'edition = "synthetic"\ntrain_images = 160')


def options(folder, said=None):
    return Options(folder, folder, folder / "runs", "local", (said or []).append)


def places(spec, folder):
    return Places(folder, {}, {})


@pytest.fixture
def started(tmp_path, monkeypatch):
    """A folder whose study was begun by this code, on real data, and killed after some jobs."""
    monkeypatch.chdir(tmp_path)

    def make(text=STUDY, most=7, here=None):
        spec = parse_spec(tomllib.loads(text), "tiny.toml")
        data = fingerprints(spec, options(tmp_path))
        with RunFolder.make(tmp_path / "runs" / "tiny") as run:
            here = {**machine.here(), **(here or {})}
            run.create(manifest.describe_study(spec, text, [], data, {}, here))
        go_on(tmp_path / "runs" / "tiny", Beginning("run"), most)
        return tmp_path / "runs" / "tiny"

    return make


def go_on(folder, begin, most=10**9):
    """A session of a study that is driven, not trained."""
    spec = recorded_spec(record.load_study(folder), "study.json")
    study = open_study(spec, folder, places(spec, folder), Silent())
    begin_session(study, study.run, options(folder.parent.parent), begin)
    drive(study, most)
    study.close()


def edit(folder, change):
    path = folder / record.STUDY
    study = json.loads(path.read_text())
    change(study)
    path.write_text(json.dumps(study))


def accept(folder):
    """What `resume --accept-changes` takes, as its session then has it."""
    with RunFolder(folder) as run:
        spec = recorded_spec(run.study, "study.json")
        return compared(spec, run, options(folder.parent.parent), accept=True)[1]


def refusal(capsys, *words):
    assert main(["resume", "runs/tiny", "--data-dir", ".", *words]) == 2
    shown = capsys.readouterr()
    assert "starting Ray" not in shown.out
    return shown.err


def of_session(study, key, value):
    for held in (study, *study["sessions"]):
        held[key] = value


def fewer_images(study):
    study["spec"]["fixed"]["train_images"] = 64


def test_a_study_as_it_was_has_no_changes(started):
    folder = started()
    assert accept(folder) == []


def test_all_that_differs_is_listed_at_once_with_both_values_and_the_fix(started, capsys):
    folder = started()

    def change(study):
        fewer_images(study)
        study["spec"]["seed"] = 4
        of_session(study, "code", "0123456789abcdef")
        of_session(study, "versions", {**machine.here()["versions"], "torch": "1.0+cpu"})

    edit(folder, change)
    said = refusal(capsys)
    now = machine.here()
    assert "train_images: 160 -> 64" in said
    assert "seed: 3 -> 4" in said
    assert f"resnet-tune itself: code 0123456789abcdef -> {now['code']}" in said
    assert f"torch: 1.0 -> {now['versions']['torch'].partition('+')[0]}" in said
    assert "drawn for 00-000" in said  # the seed draws other configs
    assert "resume runs/tiny --accept-changes" in said
    assert "--name" in said
    assert said.count("train_images") == 1  # not once a job


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s["spec"]["space"]["lr"].update(high=0.5), "lr drawn for 00-000: 0.0"),
        (lambda s: s["spec"]["fixed"].update(batch_size=64), "batch_size: 128 -> 64"),
        (lambda s: s["settings"].update(batch_size=32), "batch_size: 32 -> 128"),
        (lambda s: s["spec"]["confirm"].update(seeds=[1]), "confirm.seeds: [1, 2] -> [1]"),
        (lambda s: of_session(s, "versions", {"cuda": "9.9"}), "cuda: 9.9 -> "),
        (lambda s: of_session(s, "versions", {"python": "3.0"}), "python: 3.0 -> "),
    ],
)
def test_a_change_of_any_kind_is_refused(started, capsys, change, said):
    edit(started(), change)
    assert said in refusal(capsys)


def test_a_resume_that_is_refused_ends_the_copies_that_it_has_begun(started, capsys, monkeypatch):
    """They are sent what they lack as the study is opened, by threads that end with us."""
    ended = []
    monkeypatch.setattr(
        "search.run.study.Study.end_copies", lambda study, on_record: ended.append(on_record)
    )
    edit(started(), fewer_images)
    assert "train_images: 160 -> 64" in refusal(capsys)
    assert ended == [False]


def test_a_tpe_config_outside_of_the_space_is_told(started, capsys):
    folder = started(STUDY.replace("seed = 3", 'seed = 3\nsampler = "tpe"'))
    edit(folder, lambda study: study["spec"]["space"]["lr"].update(high=0.0101))
    assert "-> outside the space" in refusal(capsys)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s["data"][0].update(train_images=9), "--data-dir"),
        (lambda s: s.update(weights={"18": WEIGHTS}), "18: a.pth (sha256 12345678) -> none"),
        (lambda s: s.update(watched="test"), "watched: test -> val"),
    ],
)
def test_other_data_weights_or_meaning_are_never_accepted(started, capsys, change, said):
    folder = started()
    edit(folder, lambda study: (change(study), fewer_images(study)))
    message = refusal(capsys, "--accept-changes")
    assert said in message
    assert "train_images: 160 -> 64" in message
    assert record.load_study(folder)["sessions"][-1]["kind"] == "run"


WEIGHTS = {"source": "imagenet1k_v1", "file": "a.pth", "sha256": "123456789", "official": True}


def test_what_is_missing_is_told_with_what_has_changed(started, capsys):
    folder = started()
    edit(folder, lambda study: study["spec"]["fixed"].update(train_images=10**6))
    said = refusal(capsys)
    assert "train_images: 160 -> 1000000" in said
    assert "train_images = 1000000, but" in said


def test_a_record_of_before_is_compared_in_what_it_has(started):
    folder = started()

    def old(study):
        for held in (study, *study["sessions"]):
            held.pop("code")
            held["versions"] = {"ray": "1.0", "scipy": "0.1"}

    edit(folder, old)
    journal = folder / record.JOURNAL
    lines = [line for line in journal.read_text().splitlines() if '"session"' not in line]
    kept = [{k: v for k, v in json.loads(line).items() if k != "line"} for line in lines]
    journal.write_text("".join(json.dumps(event) + "\n" for event in kept))
    (folder / "frames.json").unlink(missing_ok=True)  # written by hand, it is another journal
    assert accept(folder) == []
    assert other_versions(record.load_study(folder), machine.here())[0].startswith("ray 1.0 -> ")
    assert record.load(folder).mixed.whole == ()


def test_a_setting_that_was_not_there_yet_is_no_change(started):
    folder = started()
    edit(folder, lambda study: study["settings"].pop("batch_size"))
    assert accept(folder) == []


def test_what_a_session_has_accepted_is_not_asked_again(started):
    folder = started(most=3, here={"code": "0123456789abcdef"})
    edit(folder, fewer_images)
    edit(folder, lambda study: study["sessions"][0].update(code="0123456789abcdef"))
    taken = accept(folder)
    assert "train_images: 160 -> 64" in taken
    assert any(text.startswith("resnet-tune itself: code 0123456789abcdef") for text in taken)
    go_on(folder, Beginning("resume", taken), most=4)
    study = record.load_study(folder)
    assert study["sessions"][-1]["accepted"] == taken
    assert study["settings"]["train_images"] == 64
    assert accept(folder) == []
    edit(folder, lambda study: study["spec"]["fixed"].update(train_images=160))
    with RunFolder(folder) as run, pytest.raises(PreflightError, match="train_images: 64 -> 160"):
        spec = recorded_spec(run.study, "study.json")
        compared(spec, run, options(folder.parent.parent), accept=False)


def test_every_table_made_of_mixed_parts_is_marked(started, capsys):
    folder = started(most=7)
    edit(folder, fewer_images)
    go_on(folder, Beginning("resume", accept(folder)))
    held = record.load(folder)
    for value in cell_values(held):
        assert "mixed" in value.marks
        assert "train_images 160 (" in value.details["mixed"]
    capsys.readouterr()
    for key in ("cells", "search", "configs", "audit"):
        for form in ("md", "tex", "html", "csv"):
            assert report(["table", str(folder), "--table", key, "--format", form]) == 0
            shown = capsys.readouterr().out.replace(r"\_", "_")
            assert "train_images 160 (" in shown, (key, form)
            assert "64 (" in shown
            assert form == "csv" or "MIXED PARTS" in shown
    main(["status", "runs/tiny"])
    assert "MIXED PARTS" in capsys.readouterr().out


def test_a_job_that_was_out_goes_on_record_with_what_it_is_run_again_with(started):
    folder = started(most=3)
    spec = recorded_spec(record.load_study(folder), "study.json")
    study = open_study(spec, folder, places(spec, folder), Silent())
    out = study.ask().trial
    study.close()
    edit(folder, fewer_images)
    go_on(folder, Beginning("resume", accept(folder)), most=1)
    events = record.read_events(folder)
    (again,) = [e for e in events if e["event"] == "again"]
    assert again["trial"] == out
    assert again["settings"]["train_images"] == 64


@pytest.mark.long
def test_the_page_says_what_was_mixed_and_what_was_accepted(started):
    folder = started(most=7)
    edit(folder, fewer_images)
    go_on(folder, Beginning("resume", accept(folder)))
    assert report(["build", str(folder)]) == 0
    page = (folder / "report" / "index.html").read_text(encoding="utf-8")
    assert '<p class="banner">MIXED PARTS: ' in page
    assert "<dt>mixed parts</dt><dd>depth 18: train_images 160 (" in page
    assert re.search(r"<dt>changes accepted</dt><dd>[0-9-]{10}: train_images: 160 -&gt; 64", page)


def test_a_finished_study_with_one_code_and_setting_is_not_marked(started):
    held = record.load(started(most=10**9))
    assert held.mixed.whole == ()
    assert not any({"mixed"} & set(v.marks) for v in cell_values(held))


def test_an_accepted_change_that_no_job_shows_marks_what_it_came_between(started):
    folder = started(most=7)
    edit(folder, lambda study: study["spec"]["space"]["lr"].update(high=0.5))
    taken = accept(folder)
    go_on(folder, Beginning("resume", taken))
    assert set(taken) <= set(record.load(folder).mixed.whole)


def test_find_changes_reads_every_session(started):
    folder = started()
    edit(folder, lambda study: study["sessions"][0].update(code="0123456789abcdef"))
    study = record.load_study(folder)
    spec = recorded_spec(study, "study.json")
    texts = [c.text for c in find_changes(spec, study, record.read_events(folder), machine.here())]
    assert texts == [f"resnet-tune itself: code 0123456789abcdef -> {machine.here()['code']}"]


def test_code_of_ones_own_that_changed_is_named_with_both_checksums(tmp_path, monkeypatch):
    from trainables.own_code import changes_of_code, code_of, import_from, import_own

    (tmp_path / "mine_changes.py").write_text("TASK = 1\n")
    import_from(tmp_path)
    import_own("mine_changes:TASK")
    held = code_of(["mine_changes:TASK"])
    (tmp_path / "mine_changes.py").write_text("TASK = 2\n")
    ((path, before, after),) = changes_of_code(["mine_changes:TASK"], held)
    assert Path(path).name == "mine_changes.py"
    assert before == held[1]["sha256"] != after
    (tmp_path / "mine_changes.py").unlink()
    assert changes_of_code(["mine_changes:TASK"], held)[0][2] == ""


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("trials_per_cell", 3, "budget.trials_per_cell: 5 -> 3"),
        ("audit_share", 0.0, "budget.audit_share: 0.4 -> 0"),
        ("full_per_cell", 2, "budget.full_per_cell: 1 -> 2"),
    ],
)
def test_an_edited_budget_is_listed_and_marks_what_is_made_of_it(
    started, capsys, key, value, words
):
    folder = started(most=3)
    edit(folder, lambda study: study["spec"]["budget"].update({key: value}))
    assert words in refusal(capsys)
    taken = accept(folder)
    assert any(words in text for text in taken)
    go_on(folder, Beginning("resume", taken))
    assert record.load(folder).mixed.whole


def test_what_the_command_line_changed_is_no_edit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    overrides = ["budget.trials_per_cell=3", "scheduler=cell-stop"]
    raw = apply_overrides(tomllib.loads(STUDY), overrides)
    spec = parse_spec(raw, "tiny.toml")
    data = fingerprints(spec, options(tmp_path))
    with RunFolder.make(tmp_path / "runs" / "tiny") as run:
        run.create(manifest.describe_study(spec, STUDY, overrides, data, {}, machine.here()))
        go_on_spec = recorded_spec(run.study, "study.json")
        assert find_changes(go_on_spec, run.study, [], machine.here()) == []


def test_resume_replays_its_journal_once(started, monkeypatch):
    """That of a large study takes a while."""
    folder, replayed = started(), []
    replay = Search.replay
    monkeypatch.setattr(
        Search, "replay", lambda self, *held: replayed.append(self) or replay(self, *held)
    )
    monkeypatch.setattr("search.run.cluster.connect", lambda *held: None)
    monkeypatch.setattr("search.run.cluster.resources", lambda: [{"CPU": 64.0}])
    monkeypatch.setattr("search.run.executor.execute", lambda study, nodes: False)
    main(["resume", str(folder), "--data-dir", "."])
    assert len(record.load_study(folder)["sessions"]) == 2  # it came as far as its jobs
    assert len(replayed) == 1
