"""A page verifies its record first; every table says by digest of which record it is."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pandas as pd

from analysis.cli import main
from analysis.display import tables
from search import record

SHIPPED = Path(__file__).parents[3] / "results" / "crowd-a-64px"


def copy(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    for path in SHIPPED.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    return folder


def test_a_page_says_first_what_does_not_hold_and_is_made_of_the_logs(tmp_path, capsys):
    folder = copy(tmp_path)
    path = folder / "per_image.parquet"
    held = pd.read_parquet(path)
    held.loc[held["trial"] == "00-seed1", "prediction"] *= 2
    held.to_parquet(path)
    path = folder / "trials.parquet"
    pd.read_parquet(path).assign(value=1.5).to_parquet(path)
    assert main(["build", str(folder)]) == 0
    page = (folder / "report" / "index.html").read_text(encoding="utf-8")
    first = re.search(r'<p class="banner">(.*?)</p>', page)
    assert first
    assert "DAMAGED RECORD: trials.parquet: trial " in first[1]
    assert "more things do not hold: `resnet-report verify` lists them" in page
    said = capsys.readouterr().err
    assert "value is 1.5 there" in said
    assert main(["verify", str(folder)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any("trial 00-seed1, test.mae is 2" in line for line in lines)
    table = pd.read_csv(folder / "report" / "tables" / "crowd-a-64px-cells.csv")
    by_logs = tables.make(record.load(SHIPPED), "cells").data
    assert list(table["mean"].dropna()) == list(by_logs["mean"].dropna())


def test_every_form_of_every_table_says_of_which_record_it_is():
    held = record.load(SHIPPED)
    digest = held.digest[:16]
    for key in tables.keys(held):
        table = tables.make(held, key)
        assert set(table.data["digest"]) == {digest} or not len(table.data)
        for form in ("md", "tex", "html"):
            assert digest in tables.render(table, form)


def test_a_page_of_a_sound_record_has_no_such_banner(tmp_path):
    folder = copy(tmp_path)
    assert main(["build", str(folder)]) == 0
    page = (folder / "report" / "index.html").read_text(encoding="utf-8")
    assert "DAMAGED" not in page
    assert record.load(folder).digest in page


def test_a_searched_setting_called_digest_keeps_its_own_column(tmp_path):
    folder = copy(tmp_path)
    for name in ("study.json", "decisions.jsonl"):
        path = folder / name
        path.write_text(path.read_text().replace('"lr"', '"digest"'))
    for name in ("frames.json", "trials.parquet"):
        (folder / name).unlink()
    assert json.loads((folder / "study.json").read_text())["space_keys"] == ["digest"]
    held = record.load(folder)
    data = tables.make(held, "audit").data
    assert set(data["digest"]) <= {held.digest[:16]}
    assert "setting_digest" in tables.make(held, "cells").data
