"""A table as a file: every form, chosen columns, and LaTeX that a TeX takes."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.cli import main as report
from analysis.display import tables
from analysis.display.render import FILES, write
from search.record import UserError, load

SHIPPED = Path(__file__).parents[3] / "results"
PLAIN = str(SHIPPED / "cifar10-plain")
DOCUMENT = r"""\documentclass{article}
\usepackage{booktabs}
\begin{document}
%s
\end{document}
"""


@pytest.mark.parametrize("form", FILES)
def test_a_suffix_names_the_form(tmp_path, form, capsys):
    path = tmp_path / f"t.{form}"
    assert report(["table", PLAIN, "--out", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}\n" and path.stat().st_size > 100


@pytest.mark.parametrize("key", ["T1", "cells", "settled", "search", "configs"])
def test_csv_parquet_and_json_hold_the_same_numbers(tmp_path, key):
    """csv and JSON are read back by pandas; what they cannot tell apart is left to the parquet."""
    table = tables.make(load(PLAIN), key)
    for form in ("csv", "parquet", "json"):
        write(table, tmp_path / f"t.{form}")
    parquet = pd.read_parquet(tmp_path / "t.parquet")
    held = json.loads((tmp_path / "t.json").read_text())
    frames = [pd.read_csv(tmp_path / "t.csv"), pd.DataFrame(held["data"])]
    numbers = parquet.select_dtypes("number")
    assert len(numbers.columns) and list(parquet.columns) == list(table.data.columns)
    for frame in frames:
        assert list(frame.columns) == list(parquet.columns)
        for name in numbers:
            theirs = pd.to_numeric(frame[name]).astype(float).to_numpy()
            assert theirs == pytest.approx(numbers[name].astype(float).to_numpy(), nan_ok=True)
    for name in numbers:  # to the last digit
        read = [math.nan if row[name] is None else row[name] for row in held["data"]]
        assert np.array_equal(read, numbers[name].astype(float), equal_nan=True)
    assert held["columns"] == list(table.display.columns)
    assert [[c["text"] for c in row] for row in held["rows"]] == table.strings[0]


COUNTS = {"T1": ["depth", "n", "seeds_due", "configs", "epochs"], "audit": ["rank", "n", "epochs"]}


@pytest.mark.parametrize("key", COUNTS)
def test_counts_are_whole_numbers_in_parquet_where_some_are_missing_too(tmp_path, key):
    """Constant predictors have no seeds, an audited trial of a rung cut short no rank."""
    table = tables.make(load(PLAIN), key)
    write(table, tmp_path / "t.parquet")
    held = pd.read_parquet(tmp_path / "t.parquet")
    for name in COUNTS[key]:
        assert pd.api.types.is_integer_dtype(held[name]), name
        pd.testing.assert_series_equal(
            held[name], table.data[name].astype("Int64"), check_dtype=False
        )


def test_columns_are_chosen_by_how_they_begin(capsys):
    assert report(["table", PLAIN, "--columns", "depth,test acc", "--format", "json"]) == 0
    held = json.loads(capsys.readouterr().out)
    assert held["columns"] == ["depth", "test accuracy ↑"] and "loss" in str(held["data"])
    several = "'test' is the beginning of several: test loss ↓, test accuracy ↑\n"
    for wanted, fault in (("test", several), ("nothing", "is none; the table has depth, ")):
        assert report(["table", PLAIN, "--columns", wanted]) == 2
        assert fault in capsys.readouterr().err


def test_marked_cells_stay_with_their_columns():
    table = tables.make(load(PLAIN), "T1")
    name = str(table.display.columns[-1])
    last = table.only([name])
    assert {c for (_, n), c in table.cells.items() if n == table.display.shape[1] - 1} == {
        *last.cells.values()
    }
    assert all(n == 0 for _, n in last.cells)


def test_a_wrong_suffix_and_two_forms_are_refused(tmp_path, capsys):
    assert report(["table", PLAIN, "--out", str(tmp_path / "t.xls")]) == 2
    assert "the suffix must be one of csv," in capsys.readouterr().err
    assert report(["table", PLAIN, "--out", str(tmp_path / "t.md"), "--format", "md"]) == 2
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="suffix"):
        write(tables.make(load(PLAIN), "cells"), tmp_path / "t")


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no pdflatex on this machine")
@pytest.mark.parametrize("name", sorted(p.parent.name for p in SHIPPED.glob("*/study.json")))
def test_latex_of_every_table_of_the_shipped_records_compiles(tmp_path, name):
    """With booktabs alone, each table's notes below it and not in its caption."""
    record = load(SHIPPED / name)
    made = [tables.make(record, key) for key in tables.keys(record)]
    texts = [tables.render(table, "tex") for table in made]
    for table, text in zip(made, texts, strict=True):
        caption = text[text.index("\\caption{") :].partition("\n")[0]
        assert len(caption) < 120 and "footnotesize" in text and table.title[:10] in caption
    (tmp_path / "t.tex").write_text(DOCUMENT % "\n\\clearpage\n".join(texts), encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
        errors="replace",
    )
    assert done.returncode == 0, done.stdout[-2000:]
