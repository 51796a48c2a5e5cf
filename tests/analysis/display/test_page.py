from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path

import pandas as pd
import pytest
from make_run import Run, cifar, crowd

from analysis.display import origins
from analysis.display import page as page_module
from analysis.display.dots import dot_plots
from analysis.display.page import build, state_of
from analysis.display.svg import inline
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
    held = re.sub(r' xmlns(:\w+)?="[^"]*"', "", page)  # names, not addresses
    assert re.findall(r'\bhref="([^"]*)"', held)
    for source in re.findall(r'\b(?:src|href)="([^"]*)"', held):
        assert source.startswith(("#", "data:image/png;base64,"))
    assert not re.findall(r"https?://", held)
    assert "@import" not in page
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))


def test_the_page_has_one_script_of_its_own(built):
    page = built.read_text(encoding="utf-8")
    assert len(re.findall(r"<script>", page)) == 1
    assert not re.findall(r"<script[^>]*\bsrc=", page)
    assert not re.findall(r"\bon(?:click|load|error|change)=", page)


def test_every_anchor_has_its_place_and_every_place_is_one(tmp_path):
    cifar(tmp_path / "c")
    crowd(tmp_path / "t").samples("00-seed42")
    page = build([tmp_path / "c", tmp_path / "t"], tmp_path / "out").read_text(encoding="utf-8")
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    wanted = re.findall(r'(?:href="#|url\(#|aria-labelledby=")([^")]+)', page)
    assert wanted
    assert {held for text in wanted for held in text.split()} <= set(ids)


def confirmed(folder, accuracies, **study):
    run = Run(folder, "cifar10", [{"depth": 18}], **study)
    run.confirm(0, [{"loss": 1.0, "accuracy": value} for value in accuracies], lr=0.1)
    return run.folder


def test_studies_of_one_task_are_beside_one_another_at_the_end(tmp_path):
    one = confirmed(tmp_path / "a", (0.50, 0.51, 0.52))
    other = confirmed(tmp_path / "b", (0.60, 0.61, 0.62))
    crowd(tmp_path / "t")
    out = tmp_path / "out"
    page = build([one, other, tmp_path / "t"], out).read_text(encoding="utf-8")
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids)) and {"together", "studies-join", "studies-diff"} <= set(ids)
    wanted = re.findall(r'(?:href="#|url\(#|aria-labelledby=")([^")]+)', page)
    assert {held for text in wanted for held in text.split()} <= set(ids)
    assert "From a to b: what moved" in page and "0.1000" in page
    joined = pd.read_csv(out / "tables" / "studies-join.csv")
    assert joined.loc[joined["metric"] == "accuracy", "study"].tolist() == ["a", "b"]
    moved = pd.read_csv(out / "tables" / "studies-diff.csv").set_index("metric")
    assert moved.loc["accuracy", "change"] == pytest.approx(0.1)
    for form in ("csv", "md", "tex", "html"):  # where a run lies is no result of it
        for key in ("join", "diff"):
            held = (out / "tables" / f"studies-{key}.{form}").read_text(encoding="utf-8")
            assert str(tmp_path) not in held


def test_studies_of_other_tasks_or_cells_have_nothing_beside_one_another(tmp_path):
    one = confirmed(tmp_path / "a", (0.5, 0.6))
    other = Run(tmp_path / "b", "cifar10", [{"depth": 34}])
    other.confirm(0, [{"loss": 1.0, "accuracy": 0.4}], lr=0.1)
    crowd(tmp_path / "t")
    page = build([one, tmp_path / "t"], tmp_path / "apart").read_text(encoding="utf-8")
    assert 'id="together"' not in page
    page = build([one, other.folder], tmp_path / "out").read_text(encoding="utf-8")
    assert 'id="studies-join"' in page and 'id="studies-diff"' not in page


def test_every_number_of_a_cell_leads_to_its_section_and_every_trial_to_its_row(tmp_path):
    cifar(tmp_path / "c")
    page = build([tmp_path / "c"], tmp_path / "out").read_text(encoding="utf-8")
    t1 = page[page.index('id="study-1-T1"') : page.index('id="study-1-T2"')]
    assert re.search(r'<a href="#study-1-cell-2">0.7000<wbr> ± 0.0100 \(3\)</a>', t1)
    numbers = [n for n in re.findall(r"<td class=\"num\"[^>]*>(.*?)</td>", t1) if "±" in n]
    assert len(numbers) == 4
    assert all("href=" in number for number in numbers)
    for trial in ("00-000", "03-003", "02-seed3"):
        assert page.count(f'id="study-1-t-{trial}"') == 1


def test_a_cells_section_says_what_its_result_is_made_of(tmp_path):
    run = Run(tmp_path / "s", cells=[{"depth": 18}])
    run.trial("00-000", value=0.8, lr=0.1)
    run.trial("00-001", epochs=2, ending="diverged", lr=0.3)
    run.confirm(0, [{"loss": 1.0, "accuracy": a} for a in (0.5, 0.6)], lr=0.1)
    run.trial("00-seed3", stage="confirm", seed=3, ending="failed", epochs=4, lr=0.1)
    page = build([tmp_path / "s"], tmp_path / "out").read_text(encoding="utf-8")
    own = page[page.index('<section class="cell"') : page.index('id="study-1-provenance"')]
    seeds = re.findall(r"<tr[^>]*>.*?</tr>", own[own.index("in the result") :], re.DOTALL)
    told = {re.search(r">(00-seed\d)<", row)[1]: row for row in seeds}
    assert [">yes<" in told[f"00-seed{n}"] for n in (1, 2, 3)] == [True, True, False]
    assert "no: " in told["00-seed3"]
    assert "1 completed, 1 diverged" in own
    assert "§" in own
    assert len(re.findall(r"<polyline", own)) == 5


def test_large_tables_are_packed_and_nothing_of_them_is_lost(tmp_path):
    run = Run(tmp_path / "s", cells=[{"depth": 18}, {"depth": 34}], rungs=[1])
    names = [f"{cell:02d}-{n:03d}" for cell in (0, 1) for n in range(150)]
    for name in names:
        run.trial(name, int(name[:2]), value=0.5, epochs=1, lr=0.1)
    page = build([tmp_path / "s"], tmp_path / "out").read_text(encoding="utf-8")
    packed = re.search(r'data-packed="study-1-configs">([^<]*)<', page)[1]
    rows = json.loads(gzip.decompress(base64.b64decode(packed)))
    shown = re.findall(r'<tr id="study-1-t-([^"]*)"', page)
    assert len(shown) == 200
    assert sorted([*shown, *(row[1] for row in rows)]) == names
    assert {row[0] for row in rows} == {0, 1}
    assert "Load all 300 rows" in page
    csv = (tmp_path / "out" / "tables" / "s-configs.csv").read_text(encoding="utf-8")
    assert len(csv.splitlines()) == 301


def test_numbers_in_a_figure_keep_their_digits_in_a_page():
    """Places are rounded, texts are not: ticks at 0.0001 and 0.001 both read 0.00."""
    held = (
        '<svg viewBox="0 0 9 9"><path d="M 1.23456 2.5"/><text x="3.45678">0.0001</text>'
        "<text>1.2345</text></svg>"
    )
    page = inline(held, "f", "lr 0.0001")
    assert re.findall(r">([\d.]+)<", page) == ["0.0001", "1.2345"]
    assert 'd="M 1.23 2.5"' in page
    assert 'x="3.45"' in page
    assert 'aria-label="lr 0.0001"' in page


def test_what_every_row_says_is_said_once_and_results_keep_their_column(tmp_path):
    run = Run(tmp_path / "s", cells=[{"depth": 18}, {"depth": 34}])
    for cell in (0, 1):  # a tie in all of it
        run.trial(f"{cell:02d}-000", cell, value=0.5, lr=0.1)
        run.confirm(cell, [{"loss": 1.0, "accuracy": 0.5}] * 3, lr=0.1)
    page = build([tmp_path / "s"], tmp_path / "out").read_text(encoding="utf-8")
    own = page[page.index('id="study-1-cells"') : page.index('id="study-1-search"')]
    heads = re.findall(r'<th scope="col"[^>]*>(.*?)</th>', own)
    assert not [head for head in heads if "status" in head or head == "seeds"]
    assert len([head for head in heads if "test accuracy" in head or "test loss" in head]) == 2
    assert re.search(r"The same in every row:.*status: <b>complete</b>", own)
    assert "seeds: <b>3/3</b>" in own
    csv = (tmp_path / "out" / "tables" / "s-cells.csv").read_text(encoding="utf-8")
    assert "seeds_complete" in csv.splitlines()[0]
    markdown = (tmp_path / "out" / "tables" / "s-cells.md").read_text(encoding="utf-8")
    assert "| status" in markdown


def test_a_long_caption_is_folded_behind_its_first_sentences():
    first, rest = page_module._folded(f"Short. {'Long ' * 60}end. Last.")
    assert first == "Short."
    assert rest.endswith("end. Last.")
    assert page_module._folded("One of 3.5 and more. Two.") == ("One of 3.5 and more. Two.", "")


def test_figures_of_a_page_follow_its_colours(built):
    page = built.read_text(encoding="utf-8")
    drawn = re.findall(r"<svg class=\"plate\".*?</svg>", page, re.DOTALL)
    assert len(drawn) == 4
    for svg in drawn:
        shades = set(re.findall(r"#[0-9a-f]{6}\b", svg))
        assert not shades & {"#000000", "#ffffff", "#0072b2"}
        assert "var(--" in svg
    assert "svg.plate text { fill: var(--ink)" in page  # of text that has no colour of its own


def test_tables_and_figures_lie_beside_it(built):
    tables = {p.name for p in (built.parent / "tables").iterdir()}
    assert {f"t-{key}.{form}" for key in ("T3", "cells", "settled", "search", "reveals")
            for form in ("csv", "md", "tex", "html")} == tables  # fmt: skip
    figures = {p.name for p in (built.parent / "figures").iterdir()}
    assert {
        f"t-{k}.{f}"
        for k in ("final-lr", "F4-cell0", "curves-A", "curves-B")
        for f in ("png", "pdf", "svg", "csv")
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
    lines = re.search(r"<dt>data</dt><dd>(.*?)</dd>", page)[1].split("<br>")
    assert lines[0] == "CIFAR-10 (parquet edition), 9 train images, 3 test images"
    assert lines[1:] == [origins.UNLOOKED]


def test_the_page_says_which_cell_leads_before_the_tables(tmp_path):
    cifar(tmp_path / "s")
    page = build([tmp_path / "s"], tmp_path / "out").read_text(encoding="utf-8")
    said = page.index("a tie of depth 34, from scratch (0.7000) and depth 34, fine-tuned (0.7000)")
    assert page.index("<h1>s</h1>") < said < page.index('class="dots"') < page.index("<table")


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
    assert "0.6000 val @2/9" in page
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


def test_a_page_of_several_studies_counts_the_reveals_of_all(tmp_path):
    runs = []
    for name in "ab":
        run = Run(tmp_path / name, confirm_seeds=[1])
        run.confirm(0, [{"loss": 1.0, "accuracy": 0.5}])
        runs.append(run.folder)
    page = build(runs, tmp_path / "out").read_text(encoding="utf-8")
    assert page.count("over the 2 studies shown here 0 candidates and 2 reveals") >= 4


def test_a_run_named_twice_is_refused_as_such(tmp_path):
    crowd(tmp_path / "t")
    with pytest.raises(ValueError, match="t is named twice; name it once"):
        build([tmp_path / "t", tmp_path / "x" / ".." / "t"], tmp_path / "out")


def test_two_studies_of_one_name_are_refused(tmp_path):
    crowd(tmp_path / "x" / "t")
    crowd(tmp_path / "y" / "t")
    with pytest.raises(ValueError, match="two runs of the name t"):
        build([tmp_path / "x" / "t", tmp_path / "y" / "t"], tmp_path / "out")


def test_what_a_person_wrote_is_escaped(tmp_path):
    Run(tmp_path / "s", spec={"fixed": {}, "description": "<script>alert(1)</script>"})
    page = build([tmp_path / "s"], tmp_path / "out").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


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
    text = origins.commit({"sessions": sessions, "git": sessions[0]["git"]})
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
    assert origins.data_words(study) == [said]


def test_what_a_study_was_begun_with_stands_beside_its_description(tmp_path):
    spec, given = {"fixed": {}, "description": "50 epochs"}, ["budget.max_epochs=2", 'name="s"']
    Run(tmp_path / "s", spec=spec, overrides=given)
    page = build([tmp_path / "s"], tmp_path / "out").read_text(encoding="utf-8")
    assert "50 epochs (begun with --set budget.max_epochs=2)<" in page


def test_where_cells_see_images_at_other_sizes_each_is_said():
    cells = [{"head": "fc", "lr": 0.1}, {"head": "fc", "lr": 0.2}, {"head": "conv", "lr": 0.1}]
    study = {"data": [], "settings": {"crop": 128, "head": "fc"}, "cells": cells}
    assert origins.data_words(study) == [
        "crops and whole test images at 128x128 px (head fc)",
        "crops at 128x128 px, whole test images at their own size (head conv)",
    ]
    resized = [{"resize": share} for share in (0.5, 1.0)]
    study = {"data": [], "settings": {"crop": 128, "head": "conv"}, "cells": resized}
    assert origins.data_words(study) == [
        "crops at 128x128 px, whole test images at 0.5 of their own size (resize 0.5)",
        "crops at 128x128 px, whole test images at their own size (resize 1)",
    ]


def test_the_picture_says_how_published_values_came_about_and_is_silent_without_any():
    held = Path(__file__).parents[3] / "results"
    (plain,) = dot_plots(load(held / "cifar10-plain"))
    assert plain["published"] == (
        "published in the course report on real images, lr 0.1, 200 epochs, one run, validation "
        "values of the last epoch (headed test there)"
    )
    assert [plot["published"] for plot in dot_plots(load(held / "crowd-b-conv"))] == [""]
