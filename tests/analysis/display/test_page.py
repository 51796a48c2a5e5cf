from __future__ import annotations

import base64
import re

import pytest
from make_run import Run, cifar, crowd

from analysis.display import words
from analysis.display.page import build, state_of
from search.record import load

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The page of a crowd study, in its folder with everything beside it."""
    folder = tmp_path_factory.mktemp("built")
    crowd(folder / "t").samples("00-seed42")
    return build([folder / "t"], folder / "out")


def test_one_page_that_needs_no_other_file(built):
    page = built.read_text(encoding="utf-8")
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert sources
    assert all(s.startswith(("data:image/png;base64,", "#")) for s in sources)
    assert "<script" not in page
    assert "@import" not in page
    assert "url(" not in page
    png = base64.b64decode(sources[0].partition(",")[2])
    assert png.startswith(b"\x89PNG")


def test_tables_and_figures_lie_beside_it(built):
    tables = {p.name for p in (built.parent / "tables").iterdir()}
    assert {f"t-{key}.{form}" for key in ("T3", "cells", "search")
            for form in ("csv", "md", "tex", "html")} == tables  # fmt: skip
    figures = {p.name for p in (built.parent / "figures").iterdir()}
    assert {
        f"t-{k}.{f}" for k in ("F3", "F4-cell0", "curves-A", "curves-B") for f in ("png", "pdf")
    } == figures


def test_the_page_states_what_was_run(built):
    page = built.read_text(encoding="utf-8")
    for text in ("REPORT PROTOCOL", "400 train images", "torch 2.13", "commit 0123456789",
                 "2026-11-01", "6 of 6 cells complete"):  # fmt: skip
        assert text in page
    assert "UNFINISHED" not in page
    assert "SYNTHETIC DATA" not in page


def test_what_is_odd_in_the_data_stands_a_line_each_the_worst_first(tmp_path):
    data = {"data": "CIFAR-10", "edition": "parquet", "train_images": 9, "test_images": 3}
    odd = {"notes": ["2 of 9 train images are grey"], "warnings": ["labels; far from even", "few"]}
    cifar(tmp_path / "s", data=[{**data, **odd}])
    page = build([tmp_path / "s"], tmp_path / "out").read_text(encoding="utf-8")
    lines = re.search(r"<dt>data</dt><dd>(.*?)</dd>", page)[1].split("<br>")
    assert lines[1:4] == ["labels; far from even", "few", "2 of 9 train images are grey"]
    cifar(tmp_path / "old", data=[data])  # as written before odd things were looked for
    page = build([tmp_path / "old"], tmp_path / "out2").read_text(encoding="utf-8")
    assert (
        "<dt>data</dt><dd>CIFAR-10 (parquet edition), 9 train images, 3 test images</dd>" in page
    )


def test_the_page_says_which_cell_leads_before_the_tables(tmp_path):
    cifar(tmp_path / "s")
    page = build([tmp_path / "s"], tmp_path / "out").read_text(encoding="utf-8")
    said = page.index("a tie of depth 34, from scratch (0.7000) and depth 34, fine-tuned (0.7000)")
    assert page.index("<h2>s</h2>") < said < page.index("<table")


def test_synthetic_data_is_in_title_banner_and_tables(tmp_path):
    crowd(tmp_path / "t", synthetic=True)
    page = build([tmp_path / "t"], tmp_path / "out").read_text(encoding="utf-8")
    assert "<title>t (SYNTHETIC DATA)</title>" in page
    assert re.search(r'class="banner">SYNTHETIC DATA', page)
    assert page.count("SYNTHETIC DATA") >= 6


def test_a_study_killed_in_the_middle_of_a_line_builds(tmp_path):
    run = Run(tmp_path / "k", cells=[{"depth": d} for d in (18, 34, 50, 101)])
    run.trial("00-000", value=0.8, epochs=9, lr=0.1)
    run.trial("01-000", 1, value=0.6, epochs=2, ending="running", lr=0.03)
    run.trial("02-000", 2, epochs=1, ending="failed", lr=0.03)
    with (tmp_path / "k" / "decisions.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"event": "te')
    page = build([tmp_path / "k"], tmp_path / "out").read_text(encoding="utf-8")
    assert "UNFINISHED STUDY: 0 of 4 cells complete" in page
    assert "0.6000 val @2/9†" in page
    assert "out of memory" in page
    assert "02-000" in page


def test_a_study_that_has_only_begun_builds(tmp_path):
    Run(tmp_path / "e", "shanghaitech", [{"lr": 0.1, "part": "A"}])
    page = build([tmp_path / "e"], tmp_path / "out").read_text(encoding="utf-8")
    assert "0 of 1 cells complete" in page
    assert "predict training median" in page


def test_a_missing_seed_leaves_the_study_unfinished(tmp_path):
    run = Run(tmp_path / "s")
    run.confirm(0, [{"loss": 1.0, "accuracy": a} for a in (0.5, 0.6)], lr=0.1)
    assert state_of(load(tmp_path / "s")) == (
        "0 of 1 cells complete with all their seeds",
        True,
    )


def test_several_studies_stand_on_one_page(tmp_path):
    Run(tmp_path / "c")
    Run(tmp_path / "t", "shanghaitech", [{"lr": 0.1, "part": "A"}])
    page = build([tmp_path / "c", tmp_path / "t"], tmp_path / "out").read_text(encoding="utf-8")
    assert 'href="#study-2"' in page
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert (tmp_path / "out" / "tables" / "c-T1.csv").is_file()
    assert (tmp_path / "out" / "tables" / "t-T3.csv").is_file()


def test_two_studies_of_one_name_are_refused(tmp_path):
    crowd(tmp_path / "x" / "t")
    crowd(tmp_path / "y" / "t")
    with pytest.raises(ValueError, match="two runs of the name t"):
        build([tmp_path / "x" / "t", tmp_path / "y" / "t"], tmp_path / "out")


def test_what_a_person_wrote_is_escaped(tmp_path):
    Run(tmp_path / "s", spec={"fixed": {}, "description": "<script>alert(1)</script>"})
    page = build([tmp_path / "s"], tmp_path / "out").read_text(encoding="utf-8")
    assert "<script>" not in page


def test_equal_records_give_equal_files(tmp_path):
    Run(tmp_path / "s").trial("00-000", value=0.8, lr=0.1)
    for out in ("one", "two"):
        build([tmp_path / "s"], tmp_path / out)
    for path in (tmp_path / "one").rglob("*.*"):
        assert (
            path.read_bytes()
            == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()
        )


def test_a_study_resumed_at_another_commit_names_both():
    sessions = [
        {"git": {"commit": "a" * 40, "dirty": False}},
        {"git": {"commit": "b" * 40, "dirty": True}},
    ]
    text = words.commit({"sessions": sessions, "git": sessions[0]["git"]})
    assert text == f"commit {'a' * 10}, then commit {'b' * 10} with uncommitted changes"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"crop": 512}, "crops and whole test images at 512x512 px"),  # before there were heads
        ({"crop": 64, "head": "fc"}, "crops and whole test images at 64x64 px"),
        (
            {"crop": 256, "head": "conv"},
            "crops at 256x256 px, whole test images at their own size",
        ),
        (
            {"crop": 256, "head": "conv", "resize": 0.5},
            "crops at 256x256 px, whole test images at 0.5 of their own size",
        ),
    ],
)
def test_the_size_at_which_images_were_seen_is_said(settings, said):
    study = {"data": [], "settings": settings}
    assert words.data_words(study) == [said]
