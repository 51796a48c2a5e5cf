"""The page as a browser has it: nothing is clipped, and sorting, filtering, hovering work."""

from __future__ import annotations

import json
import os
import re
from importlib.resources import files
from pathlib import Path

import pytest
from make_run import Run, cifar, crowd

from analysis.display.page import build
from tests.analysis.display.browser import needs_browser, told_by

pytestmark = [pytest.mark.long]
TRIALS, CELLS = 2000, 4
MOST = 5_000_000  # bytes of a page
WIDTHS = (400, 768, 1280, 1920)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """The page of a study of 2,000 configs."""
    folder = tmp_path_factory.mktemp("large")
    run = Run(folder / "s", cells=[{"depth": 18 + n} for n in range(CELLS)], rungs=[1, 2])
    for number in range(TRIALS):
        cell, name = number % CELLS, f"{number % CELLS:02d}-{number // CELLS:04d}"
        value = 0.1 + 0.8 * ((number * 7919) % TRIALS) / TRIALS
        run.trial(name, cell, value=value, epochs=1 + number % 2, lr=0.0001 * (1 + number))
    for cell in range(CELLS):
        tests = [{"loss": 1.0 + cell, "accuracy": 0.5 + cell / 10 + s / 100} for s in range(3)]
        run.confirm(cell, tests, epochs=2, lr=0.1)
    return build([folder / "s"], folder / "out").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The page of two finished studies, one of crowds with samples."""
    folder = tmp_path_factory.mktemp("both")
    cifar(folder / "c")
    crowd(folder / "t").samples("00-seed42")
    return build([folder / "c", folder / "t"], folder / "out").read_text(encoding="utf-8")


def test_a_page_of_2000_trials_is_small_asks_for_nothing_and_leads_everywhere(large):
    assert len(large.encode()) < MOST
    held = re.sub(r' xmlns(:\w+)?="[^"]*"', "", large)
    assert not re.findall(r"https?://|@import|\bsrc=", held)
    ids = re.findall(r'\bid="([^"]*)"', large)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)', large)) <= set(ids)
    for text in re.findall(r"<td[^>]*>(.*?)</td>", large, re.DOTALL):
        if "±" in text and "unseen" not in text:  # a cell's own section has no way to itself
            assert "href=" in text or f'<td class="num">{text}</td>' in large
    rows = re.findall(r'<tr id="study-1-t-([^"]*)" data-trial="([^"]*)"', large)
    assert all(row == trial for row, trial in rows)
    drawn = set(re.findall(r'<polyline data-trial="([^"]*)"', large))
    packed = TRIALS + 3 * CELLS
    assert 0 < len(drawn) <= packed


@needs_browser
def test_a_table_is_sorted_filtered_and_unpacked_by_its_script(large, tmp_path):
    told = told_by(
        large,
        """
        const section = document.getElementById("study-1-configs");
        const heads = [...section.querySelectorAll("thead th")];
        const at = heads.findIndex((head) => head.textContent.trim() === "lr");
        const rows = () => [...section.querySelectorAll("tbody tr")];
        const column = () => rows().map((row) => row.cells[at].textContent.trim());
        const rest = () => new Promise((done) => setTimeout(done, 1500));
        const told = {before: column().length, count: section.querySelector(".count").textContent};
        heads[at].querySelector("button").click();
        await rest();
        told.up = column(); told.upSort = heads[at].getAttribute("aria-sort");
        heads[at].querySelector("button").click();
        await rest();
        told.down = column(); told.downSort = heads[at].getAttribute("aria-sort");
        const field = section.querySelector("input");
        field.value = "03-0499"; field.dispatchEvent(new Event("input"));
        await rest();
        told.found = rows().map((row) => row.id);
        told.way = section.querySelector("tbody tr a").getAttribute("href");
        told.filtered = section.querySelector(".count").textContent;
        return told;
        """,
        tmp_path,
    )  # fmt: skip
    assert told["before"] == 200
    assert told["count"] == f"200 of {TRIALS} rows"
    up, down = ([float(text) for text in told[way]] for way in ("up", "down"))
    assert (up[0], down[0]) == (0.0001, 0.2)  # of all rows, also those that were packed
    assert up == sorted(up)
    assert down == sorted(down, reverse=True)
    assert (told["upSort"], told["downSort"]) == ("ascending", "descending")
    assert told["found"] == ["study-1-t-03-0499"]
    assert told["filtered"] == "1 of 1 rows"
    assert told["way"] == "#study-1-cell-3"


@needs_browser
def test_a_row_lights_up_its_curves_and_a_cell_its_rows(both, tmp_path):
    told = told_by(
        both,
        """
        const over = (query) => {
          const event = new PointerEvent("pointerover", {bubbles: true});
          document.querySelector(query).dispatchEvent(event);
          return [...document.querySelectorAll(".hot")].map((held) => [
            held.tagName.toLowerCase(), held.dataset.trial || "", held.dataset.cell || "",
            held.closest("[data-study]").id,
          ]);
        };
        const told = {trial: over('#study-1-t-00-seed1')};
        told.dim = document.querySelectorAll("svg.dim").length;
        told.cell = over('#study-1-T1 td[data-cell="2"]');
        told.none = over("h1");
        return told;
        """,
        tmp_path,
    )  # fmt: skip
    assert {trial for _, trial, _, _ in told["trial"]} == {"00-seed1"}
    assert {"tr", "polyline", "g"} <= {tag for tag, *_ in told["trial"]}
    assert told["dim"] >= 3
    assert {cell for _, _, cell, _ in told["cell"]} == {"2"}
    assert {study for *_, study in told["trial"] + told["cell"]} == {"study-1"}
    assert told["none"] == []


MEASURE = """
const found = {};
for (const width of WIDTHS) {
  const frame = document.createElement("iframe");
  frame.style.cssText = `width:${width}px;height:900px;border:0`;
  frame.srcdoc = PAGE;
  document.body.append(frame);
  await new Promise((done) => frame.addEventListener("load", done));
  await new Promise((done) => setTimeout(done, 300));
  const page = frame.contentDocument, view = frame.contentWindow;
  const told = { page: page.documentElement.scrollWidth, out: [], cut: [], dumb: [], scrolled: 0 };
  for (const held of page.querySelectorAll("nav *, main *")) {
    const scroll = held.closest(".scroll");
    if ((scroll && scroll !== held) || held.closest(".unseen, .skip, svg")) continue;
    const at = held.getBoundingClientRect(), named = held.outerHTML.slice(0, 80);
    if (at.width && (at.right > width + 1 || at.left < -1)) told.out.push(named);
    const hides = view.getComputedStyle(held).overflowX !== "visible" && held !== scroll;
    if (hides && held.scrollWidth > held.clientWidth + 1) told.cut.push(named);
  }
  for (const held of page.querySelectorAll(".scroll")) {
    if (held.scrollWidth <= held.clientWidth + 1) continue;
    told.scrolled += 1;
    const hint = held.previousElementSibling;
    const said = hint && hint.matches(".hint") && hint.getClientRects().length;
    if (!said) told.dumb.push(held.closest("[id]").id);
  }
  const captions = [...page.querySelectorAll(".sheet")].filter((sheet) => {
    const drawn = sheet.querySelector("svg"), said = sheet.querySelector("figcaption");
    return drawn && said.getBoundingClientRect().top < drawn.getBoundingClientRect().bottom - 1;
  });
  told.over = captions.map((sheet) => sheet.id);
  found[width] = told;
  frame.remove();
}
return found;
"""


@needs_browser
def test_no_width_clips_a_word_and_what_scrolls_says_so(both, tmp_path):
    text = json.dumps(both).replace("</", "<\\/")
    script = f"const PAGE = {text}, WIDTHS = {list(WIDTHS)};{MEASURE}"
    told = told_by("<!doctype html><body></body>", script, tmp_path, width=2000)
    for width in WIDTHS:
        held = told[str(width)]
        assert held["page"] <= width
        assert held["out"] == held["cut"] == held["dumb"] == held["over"] == [], (width, held)
    assert told["400"]["scrolled"] > told["1280"]["scrolled"] >= told["1920"]["scrolled"]


@needs_browser
@pytest.mark.skipif("AXE_CORE" not in os.environ, reason="AXE_CORE names no axe.min.js")
@pytest.mark.parametrize("width", [400, 1280])
def test_axe_finds_no_violation(both, tmp_path, width):
    axe = (
        Path(os.environ["AXE_CORE"]).read_text(encoding="utf-8").replace("</script", "<\\/script")
    )
    page = both.replace("</head>", f"<script>{axe}</script></head>")
    told = told_by(
        page,
        "const held = await axe.run(document, {resultTypes: ['violations']});"
        "return held.violations.map((v) => [v.id, v.nodes.map((node) => node.html)]);",
        tmp_path,
        width,
    )
    assert told == []


def palettes() -> list[dict[str, str]]:
    """Colours of the page by name, in light and in dark."""
    css = files("analysis.display").joinpath("style.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\}", css.split("@media print")[0], re.DOTALL)
    return [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in blocks]


def luminance(colour: str) -> float:
    """Of WCAG 2."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_of_every_colour_can_be_read_on_whatever_lies_under_it(scheme):
    held = palettes()[scheme]
    for text in ("ink", "soft", "link", "warn"):
        for under in ("paper", "hot", "faint"):
            assert contrast(held[text], held[under]) >= 4.5, (text, under)
    assert contrast(held["warn"], held["warnbg"]) >= 4.5
    for drawn in (*(f"c{n}" for n in range(7)), "accent", "muted"):
        assert contrast(held[drawn], held["paper"]) >= 3, drawn


@needs_browser
def test_a_table_of_five_depths_fits_where_the_report_is_read(tmp_path):
    """Its spread, or the epoch it is of, goes under a number before a table has to be scrolled."""
    run = Run(tmp_path / "s", cells=[{"depth": d} for d in (18, 34, 50, 101, 152)], space_keys=[])
    for cell in range(5):
        tests = [{"loss": 1.2345, "accuracy": 0.6 + cell / 30 + s / 50} for s in (-1, 0, 1)]
        run.confirm(cell, tests, collapsed=True)
    page = build([tmp_path / "s"], tmp_path / "out").read_text(encoding="utf-8")
    ask = """
        const scroll = document.querySelector("#study-1-T1 .scroll");
        const mark = document.querySelector(".row .mean").getBoundingClientRect();
        const old = getComputedStyle(document.querySelector(".row .old"));
        const scrolled = [scroll.clientWidth, scroll.scrollWidth];
        return [...scrolled, mark.width, old.width, old.backgroundColor];
    """
    room, wide, mark, old, under = told_by(page, ask, tmp_path / "ask", 1280)
    assert wide <= room
    assert float(old.removesuffix("px")) > mark  # and what is inside of it is seen:
    assert under == "rgba(0, 0, 0, 0)"
