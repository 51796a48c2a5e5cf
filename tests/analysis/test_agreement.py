"""No two outputs of a record disagree, and none says what its trials do not.

Random records are rendered in every form; what each says is read back out of its text and held
against the others and against the trials, by arithmetic that is not the code's own.
"""

from __future__ import annotations

import html
import json
import math
import re
import warnings
from collections import Counter
from functools import cache

import numpy as np
import pytest

from analysis.display import marks, tables
from analysis.display.explained import explained
from analysis.display.page import build, state_of
from analysis.findings.cells import cell_values
from search.cli.status import status_table
from search.record import RecordWarning, load, naming
from tests.analysis.make_run import answer_sentences
from tests.analysis.random_records import STRANGE, random_run

EVERY = 10  # records at a time
SIGNS = {sign for sign, _ in marks.MARKS.values()}
NOT_FINITE = re.compile(r"(?i)\b(nan|none|inf|<na>)\b")


class Shown:
    """Every output of one record as text, and its trials."""

    def __init__(self, run):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RecordWarning)
            self.record = load(run.folder)
        self.study = self.record.study
        self.main = self.study["metric"]
        self.values = {(v.cell, v.metric): v for v in cell_values(self.record)}
        self.tables = {key: tables.make(self.record, key) for key in tables.keys(self.record)}
        self.answers = answer_sentences(self.record)
        self.explained = [explained(self.record, cell) for cell in range(len(self.study["cells"]))]
        status = status_table(self.record)
        names = [f"{at}_{m}" for m in self.study["metrics"]
                 for at in ("test", f"value_{self.study['watched']}")]  # fmt: skip
        self.results = self.record.trials[["cell", "stage", "status", *names]]
        self.results = self.results[self.results["status"] == "completed"]
        self.status = {str(c.header): [str(x) for x in c.cells] for c in status.columns}
        self.cells = range(len(self.study["cells"]))

    @cache  # noqa: B019 - a record at a time, gone with the test
    def column(self, metric):
        """Texts and bold of a metric in the table of all cells."""
        table = self.tables["cells"]
        title = self.study["about"]["metrics"][metric]["title"]
        head = f"{self.study['shown_split']} {title} "
        (name,) = [h for h in table.display if h.startswith(head) and h[-1] in "↑↓"]
        return list(table.display[name]), list(table.bold[name])

    @cache  # noqa: B019
    def scores(self, cell, metric):
        """Values of the seeds of a cell that count, out of the trials alone."""
        stage = "confirm" if self.study["confirm_seeds"] else "search"
        rows = self.results[(self.results["cell"] == cell) & (self.results["stage"] == stage)]
        rows = rows[rows[[f"test_{m}" for m in self.study["metrics"]]].notna().any(axis=1)]
        split = self.study["shown_split"]
        name = f"test_{metric}" if split == "test" else f"value_{split}_{metric}"
        return [float(v) for v in rows[name].dropna()]

    @cache  # noqa: B019
    def constants(self, metric):
        """Scores of constant predictors that are of the split shown."""
        trials, split = self.record.trials, self.study["shown_split"]
        texts = [json.loads(t) for t in trials["baselines"].dropna()]
        held = [s[metric] for t in texts[:1] for s in t.values() if metric in s]
        known = [s[metric] for s in self.study["about"]["chance"].values() if metric in s]
        return held if held and split == "test" else known

    def images(self, cell):
        """Which images a cell may be compared within."""
        return self.values[cell, self.main].images

    def better(self, first, second, metric):
        sign = 1 if self.values[0, metric].mode == "max" else -1
        return sign * (first - second) > 1e-9


def bold_is_read_from_one_verdict(shown):
    data = shown.tables["cells"].data
    markdown = tables.render(shown.tables["cells"], "md")
    for metric in shown.study["metrics"]:
        texts, bold = shown.column(metric)
        rows = data[(data["metric"] == metric) & (data["status"] != "constant")]
        assert list(rows["bold"]) == bold[: len(shown.cells)]
        for text, on in zip(texts, bold, strict=True):
            assert (f"**{text}**".replace("|", r"\|") in markdown) or not on


def every_table_shows_a_cell_alike(shown):
    """What stands in T1 to T4, wherever it stands there, is what stands among all cells."""
    for key in set(shown.tables) & {"T1", "T2", "T3", "T4"}:
        table = shown.tables[key]
        texts = Counter(table.display.to_numpy().ravel().tolist())
        numbers = {int(n) for n in table.data["cell"].dropna()}
        for metric in shown.study["metrics"]:
            held, _ = shown.column(metric)
            for cell in numbers:
                assert texts[held[cell]], (key, cell, held[cell])
        strong = table.display.to_numpy()[table.bold.to_numpy(dtype=bool)].tolist()
        expected = [
            shown.column(m)[0][c]
            for m in shown.study["metrics"]
            for c in numbers
            if shown.column(m)[1][c]
        ]
        assert sorted(strong) == sorted(expected)


def headline_and_bold_agree(shown):
    texts, bold = shown.column(shown.main)
    named = [naming.cell_label(at) for at in shown.study["cells"]]
    leading = set()
    for text in shown.answers:
        if found := re.search(r": (.*) \(([^()]*)\) leads, decided", text):
            leading.add(named.index(found[1]))
            assert "NOT decided" not in text
        else:
            assert " leads" not in text
    marked = {cell for cell in shown.cells if bold[cell]}
    assert marked == (set() if shown.study["synthetic"] else leading)
    undecided = {cell for cell in shown.cells if "≈" in texts[cell]}
    told = [text for text in shown.answers if "NOT decided" in text]
    assert bool(undecided) == bool(told)
    for cell in undecided:
        assert any(named[cell] in text for text in told)
    assert len(shown.answers) == len({shown.images(c) for c in shown.cells})


def nothing_is_bold_that_is_not_the_best(shown):
    for metric in shown.study["metrics"]:
        texts, bold = shown.column(metric)
        for cell in shown.cells:
            if not bold[cell]:
                continue
            scores = shown.scores(cell, metric)
            mean = np.mean(scores)
            assert len(scores) == len(shown.study["confirm_seeds"]) >= 2
            assert not set("†°#‡§∅×⊕◊≈¶") & set(texts[cell])
            assert all(shown.better(mean, c, metric) for c in shown.constants(metric))
            group = [
                c for c in shown.cells
                if c != cell and shown.images(c) == shown.images(cell)
                and not set("†°#‡§∅×⊕◊—") & set(texts[c]) and shown.scores(c, metric)
            ]  # fmt: skip
            assert group
            assert all(shown.better(mean, np.mean(shown.scores(c, metric)), metric) for c in group)


def no_value_worse_than_a_constant_is_unmarked(shown):
    for metric in shown.study["metrics"]:
        texts, _ = shown.column(metric)
        for cell in shown.cells:
            scores = shown.scores(cell, metric)
            worse = [
                c for c in shown.constants(metric) if scores
                and not shown.better(np.mean(scores), c, metric)
            ]  # fmt: skip
            assert "#" in texts[cell] or not worse, (cell, metric, texts[cell], worse)
    for text in shown.answers:
        if "beats every constant" in text:
            assert shown.constants(shown.main)
        if " no interval says" in text and "; the rest of these" not in text:
            best = [shown.values[cell, shown.main] for cell in shown.cells]
            best = [v for v in best if v.standing in ("best", "among the best", "alone")]
            best = [v for v in best if naming.cell_label(v.given) in text]
            assert best
            assert all(v.skill != "shown" for v in best if v.standing != "alone")


def seeds_are_told_as_they_ended(shown):
    trials = shown.record.trials
    planned = len(shown.study["confirm_seeds"]) or 1
    data = shown.tables["cells"].data
    complete = 0
    for cell in shown.cells:
        rows = trials[(trials["cell"] == cell) & (trials["stage"] == "confirm")]
        scored = rows[(rows["status"] == "completed") & rows[f"test_{shown.main}"].notna()]
        texts, _ = shown.column(shown.main)
        if len(shown.study["confirm_seeds"]):
            assert shown.tables["cells"].display["seeds"][cell] == f"{len(scored)}/{planned}"
            assert shown.status["confirmed"][cell].startswith(f"{len(scored)}/{planned}")
            assert set(data.loc[data["cell"] == cell, "seeds_complete"]) == {len(scored)}
            ended = rows["status"].isin(["diverged", "failed"]).sum()
            if ended == planned:
                assert "°" not in texts[cell]
                assert texts[cell].endswith("×"), texts[cell]
            complete += len(scored) >= planned
    if shown.study["confirm_seeds"]:
        assert state_of(shown.record)[0].startswith(f"{complete} of {len(shown.cells)} cells")
    for metric in shown.study["metrics"]:
        for cell in shown.cells:
            value, scores = shown.values[cell, metric], shown.scores(cell, metric)
            if scores and len(scores) < max(len(shown.scores(cell, m))
                                            for m in shown.study["metrics"]):  # fmt: skip
                assert "∅" in shown.column(metric)[0][cell]
                assert value.standing == "out"


def counts_are_the_same_everywhere(shown):
    trials, search = shown.record.trials, shown.tables["search"].data
    planned = shown.study["spec"]["budget"]["trials_per_cell"]
    searched = trials[trials["stage"] != "confirm"]
    for cell in shown.cells:
        rows = searched[searched["cell"] == cell]
        audits = rows[rows["stage"] == "audit"]
        if not shown.study["space_keys"]:
            continue
        assert search.loc[cell, "configs"] == len(rows)
        assert shown.tables["cells"].display["configs"][cell] == f"{len(rows)}/{planned}"
        assert shown.status["configs"][cell] == f"{len(rows)}/{planned}"
        for state in ("completed", "stopped", "diverged", "failed"):
            count = (rows["status"][rows["stage"] != "audit"] == state).sum()
            count += len(audits) if state == "stopped" else 0
            assert search.loc[cell, state] == count == int(shown.status[state][cell])
        ended = audits["status"].isin(["completed", "diverged"]).sum()
        assert shown.status["audited"][cell] == (f"{ended}/{len(audits)}" if len(audits) else "0")
    if shown.study["space_keys"]:
        sizes = [int((searched["cell"] == cell).sum()) for cell in shown.cells]
        low, high = min(sizes), max(sizes)
        said = re.search(r"among (\d+)(?: to (\d+))?", shown.tables["cells"].caption)
        assert (int(said[1]), int(said[2] or said[1])) == (low, high)


def audits_count_what_diverged(shown):
    if "audit" not in shown.tables:
        return
    decisions, trials = shown.record.decisions, shown.record.trials
    winners = set(decisions.loc[decisions["verdict"] == "select", "cell"])
    rows = trials[(trials["stage"] == "audit") & trials["cell"].isin(winners)]
    ended = rows[rows["status"].isin(["completed", "diverged"])]
    said = re.search(r"Of (\d+) trials? that", shown.tables["audit"].caption)
    assert (int(said[1]) if said else 0) == len(ended)
    data = shown.tables["audit"].data
    better = Counter(data.loc[data["better"].eq(True), "cell"])
    for cell in shown.cells:
        text = shown.column(shown.main)[0][cell]
        if better[cell] and shown.scores(cell, shown.main):
            assert "∇" in text
            assert any("The rule ended better configs" in held for held in shown.answers)
        assert "∇" not in text or better[cell]


def edges_are_marked_of_every_searched_setting(shown):
    trials = shown.record.trials
    for cell in shown.cells:
        value = shown.values[cell, shown.main]
        if value.status != "complete":
            continue
        rows = trials[(trials["cell"] == cell) & (trials["stage"] != "confirm")]  # audits, too
        rows = rows[rows["status"] != "failed"]
        numbers = {k: v for k, v in value.config.items() if not isinstance(v, str | np.bool_)}
        ends = [
            key
            for key, chosen in numbers.items()
            if (chosen == rows[key].min() and chosen != 0) or chosen == rows[key].max()
        ]
        assert bool(ends) == ("‖" in shown.column(shown.main)[0][cell]), (cell, ends)


def every_sign_is_explained(shown):
    for key, table in shown.tables.items():
        if key in ("search", "configs", "audit"):
            continue
        drawn = {s for text in table.display.to_numpy().ravel() for s in str(text)} & SIGNS
        for sign in drawn:
            mark = next(text for held, text in marks.MARKS.values() if held == sign)
            assert f"{sign} {mark}" in table.caption
        caption = table.caption
        explained = {sign for sign, text in marks.MARKS.values() if f"{sign} {text}" in caption}
        assert explained == drawn


def intervals_are_possible(shown):
    data = shown.tables["cells"].data
    data = data[data["status"] != "constant"]
    for metric in shown.study["metrics"]:
        rows = data[data["metric"] == metric]
        low, high = (0, 1) if metric == "accuracy" else (0, math.inf)
        low = (
            -math.inf if ":" in shown.study["task"] else low
        )  # of a user's own it may be anything
        for name in ("lo", "hi", "images_lo", "images_hi"):
            ends = rows[name].dropna().astype(float)
            assert ((ends >= low) & (ends <= high)).all()
        width = high - low
        assert (rows["behind_lo"].dropna().astype(float).abs() <= width).all()


def nothing_is_said_that_is_no_word(shown):
    for key, table in shown.tables.items():
        for text in [table.caption, *map(str, table.display.to_numpy().ravel())]:
            assert not NOT_FINITE.search(text), (key, text)
        if "pretrained" in table.display:
            assert not {"True", "False"} & set(table.display["pretrained"])
    assert shown.status["cell"] == [naming.cell_label(at) for at in shown.study["cells"]]
    assert not {"True", "False"} & set(re.split(r"\W", " ".join(shown.status["cell"])))
    for text in shown.answers:
        assert not NOT_FINITE.search(text), text
        assert "True" not in text
        assert "False" not in text


def a_value_is_called_by_one_name(shown):
    """Cells that differ have labels that do, in one line; truth is said as a study file does."""
    cells, labels = shown.study["cells"], shown.status["cell"]
    assert len(set(labels)) == len(cells)
    texts = [*labels, *shown.explained, *(t.caption for t in shown.tables.values())]
    texts += [str(v) for t in shown.tables.values() for v in t.display.to_numpy().ravel()]
    for text in texts:
        assert not {"True", "False"} & set(re.split(r"\W", text)), text
    for text in [*labels, *texts[len(labels) + len(cells) :]]:
        assert "\n" not in text, text
    for number, at in enumerate(cells):
        assert labels[number] in shown.explained[number]
        if "momentum" in at:
            assert f"momentum {at['momentum']!r}" in labels[number]


def no_more_is_lost_than_is(shown):
    """That no config is left is said of cells whose every planned config ended so, no others."""
    planned = shown.study["spec"]["budget"]["trials_per_cell"]
    trials = shown.record.trials
    for cell in shown.cells:
        text, told = shown.column(shown.main)[0][cell], shown.explained[cell]
        rows = trials[(trials["cell"] == cell) & (trials["stage"] != "confirm")]
        if "no config is left" in text + told:
            assert len(rows) == planned
            assert not (rows["status"] == "completed")[rows["stage"] == "search"].any()
        begun = f"{len(rows)} of {planned} planned configs were begun"
        none = f"none of {planned} planned configs has been begun"
        if not shown.study["space_keys"]:
            assert "nothing is searched" in told
        else:
            assert "nothing is searched" not in told
            assert (begun if len(rows) else none) in told


def a_config_is_said_to_have_ended_as_it_did(shown):
    if "configs" not in shown.tables or not shown.study["space_keys"]:
        return
    held = shown.tables["configs"].display
    for status, why in zip(held["status"], held["why"], strict=True):
        kind = status.partition(",")[0]
        assert (kind == "failed") == ("job failed" in why), (status, why)
        assert (kind == "diverged") == ("not finite" in why), (status, why)


def the_split_is_the_one_that_is_watched(shown):
    """Nothing of a search that test itself ranked is called validation."""
    if shown.study["watched"] == "test":
        texts = [*shown.explained, *(t.caption for t in shown.tables.values())]
        for text in texts:
            for part in (", on validation", "by validation", "a validation value"):
                assert part not in text, text


def an_explanation_says_what_tables_say(shown):
    for cell, told in enumerate(shown.explained):
        text = shown.column(shown.main)[0][cell]
        assert f": {text}" in told
        value = shown.values[cell, shown.main]
        tie = value.behind is not None and value.behind.tie
        assert ("NOT decided" in told) == ("≈" in text and not tie)
        assert "; gap —" not in told
        assert "tried: \n" not in told
        if value.behind and value.behind.tie:
            assert "a tie with" in told
        assert ("compared with no other cell" in told) == (value.standing == "out")
    tied = [v for v in shown.values.values() if v.metric == shown.main and v.behind]
    ranks = shown.tables["settled"].data.set_index("cell")["rank"] if len(tied) else {}
    for value in tied:
        if value.behind.tie:
            assert ranks[value.cell] == 1


def published_numbers_are_of_no_setting_of_ours(shown):
    for key in set(shown.tables) & {"T3", "T4"}:
        table = shown.tables[key]
        for row, kind in zip(table.display.to_dict("records"), table.kinds, strict=True):
            if kind == "published":
                own = [head for head in row if head.lower() in STRANGE]
                assert all(row[head] == "—" for head in own)


def a_sound_record_is_not_called_damaged(shown):
    assert not shown.record.notes


def data_and_display_are_one(shown):
    """The numbers of the csv, rounded, are those that are displayed."""
    data = shown.tables["cells"].data
    for row in data[data["status"] == "complete"].to_dict("records"):
        text = shown.column(row["metric"])[0][row["cell"]]
        digits = shown.study["about"]["metrics"][row["metric"]]["digits"]
        assert text.startswith(f"{row['mean']:.{digits}f}")
        assert f"({row['n']})" in text
        assert len(str(row["values"]).split()) == len(str(row["seeds"]).split()) == row["n"]


CHECKS = (
    bold_is_read_from_one_verdict,
    every_table_shows_a_cell_alike,
    headline_and_bold_agree,
    nothing_is_bold_that_is_not_the_best,
    no_value_worse_than_a_constant_is_unmarked,
    seeds_are_told_as_they_ended,
    counts_are_the_same_everywhere,
    audits_count_what_diverged,
    edges_are_marked_of_every_searched_setting,
    every_sign_is_explained,
    intervals_are_possible,
    nothing_is_said_that_is_no_word,
    a_value_is_called_by_one_name,
    no_more_is_lost_than_is,
    a_config_is_said_to_have_ended_as_it_did,
    the_split_is_the_one_that_is_watched,
    an_explanation_says_what_tables_say,
    published_numbers_are_of_no_setting_of_ours,
    a_sound_record_is_not_called_damaged,
    data_and_display_are_one,
)


@pytest.mark.parametrize("batch", range(8))
def test_no_two_outputs_of_a_record_disagree(tmp_path, batch):
    for seed in range(batch * EVERY, (batch + 1) * EVERY):
        shown = Shown(random_run(tmp_path / f"r{seed}", seed, strange=bool(seed % 2)))
        for check in CHECKS:
            try:
                check(shown)
            except AssertionError as error:
                raise AssertionError(f"record {seed}, {check.__name__}: {error}") from error


@pytest.mark.long
@pytest.mark.parametrize("seed", [3, 11, 17])
def test_the_page_and_its_figure_say_what_the_tables_say(tmp_path, seed):
    shown = Shown(random_run(tmp_path / "r", seed, strange=seed > 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordWarning)
        page = build([shown.record.run], tmp_path / "out").read_text(encoding="utf-8")
    told = html.unescape(re.sub(r"</?span[^>]*>", "", page))
    for text in shown.answers:
        assert text in told
    for table in shown.tables.values():
        assert table.title in page
    ids = Counter(re.findall(r'\bid="([^"]*)"', page))
    assert not [name for name, count in ids.items() if count > 1]
    assert "<td>all</td>" not in page
    assert not re.search(r"\b0 others", page)
    sheets = re.findall(r'<figure class="sheet.*?</figure>', page, re.DOTALL)
    assert sheets
    for sheet in sheets:  # what is drawn is explained under it
        texts = " ".join(re.findall(r"<text[^>]*>(.*?)</text>", sheet, re.DOTALL))
        caption = html.unescape(sheet[sheet.index("<figcaption") :])
        for sign in set(html.unescape(texts)) & SIGNS:
            assert f"{sign} " in caption, (sign, caption)
