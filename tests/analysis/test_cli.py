from __future__ import annotations

import io
import subprocess
import sys

import pandas as pd
import pytest
from make_run import Run, crowd

from analysis.cli import main


def test_table_prints_the_one_asked_for(tmp_path, capsys):
    crowd(tmp_path / "t")
    assert main(["table", str(tmp_path / "t"), "--table", "T3"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("**T3.")
    assert "503.7461" in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["exlpain", "runs/x"], "no command exlpain; did you mean explain?"),
        (["frobnicate"], "no command frobnicate; there are build, table,"),
        (["--format", "md", "table"], "the command comes first, then --format: one of build,"),
        (["build", "x", "--format", "md"], "`build` takes no --format; see `resnet-report build"),
        (["build", "x", "--published-curves", "s3://b/c.csv"], "--published-curves"),
    ],
)
def test_a_command_line_that_cannot_be_read_is_told_in_a_line(words, told, capsys):
    try:
        assert main(words) == 2
    except SystemExit as end:
        assert end.code == 2
    assert told in capsys.readouterr().err.splitlines()[-1]


def test_table_prints_csv_that_pandas_reads(tmp_path, capsys):
    crowd(tmp_path / "t")
    assert main(["table", str(tmp_path / "t"), "--format", "csv"]) == 0
    frame = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert (frame["status"] != "constant").sum() == 12


def test_build_writes_into_the_run_unless_told(tmp_path, capsys):
    Run(tmp_path / "s")
    assert main(["build", str(tmp_path / "s")]) == 0
    assert (tmp_path / "s" / "report" / "index.html").is_file()
    assert capsys.readouterr().out.strip().endswith("index.html")


def test_build_of_several_needs_a_place(tmp_path, capsys):
    Run(tmp_path / "a")
    Run(tmp_path / "b")
    runs = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert main(["build", *runs]) == 2
    assert "--out" in capsys.readouterr().err
    assert main(["build", *runs, "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "index.html").is_file()


def test_a_page_is_not_written_where_a_file_stands(tmp_path, capsys):
    run = Run(tmp_path / "s").folder
    file = tmp_path / "notes.txt"
    file.write_text("mine", encoding="utf-8")
    for out in (file, file / "deep" / "er"):
        assert main(["build", str(run), "--out", str(out)]) == 2
        told = f"resnet-report: {out}: {file} is no folder; name a folder to write to by --out\n"
        assert capsys.readouterr().err == told
    assert file.read_text(encoding="utf-8") == "mine"


@pytest.mark.long
def test_published_curves_go_under_ours(tmp_path):
    run = Run(tmp_path / "s")
    run.confirm(0, [{"loss": 1.0, "accuracy": 0.5}], lr=0.1)
    old = tmp_path / "curves.csv"
    old.write_text(
        "task,part,mode,depth,lr,run,epoch,name,value\n"
        "cifar10,,scratch,18,0.1,0,1,val_loss,2.3\ncifar10,,scratch,18,0.1,0,2,val_loss,2.0\n",
        encoding="utf-8",
    )
    main(["build", str(tmp_path / "s"), "--out", str(tmp_path / "plain")])
    code = main(
        ["build", str(tmp_path / "s"), "--out", str(tmp_path / "laid"), "--published-curves",
         str(old)]
    )  # fmt: skip
    assert code == 0
    plain, laid = (tmp_path / out / "figures" / "s-F1.png" for out in ("plain", "laid"))
    assert plain.read_bytes() != laid.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["build", "{}/none"], "no run folder"),
        (
            ["table", "{}/s", "--table", "audit"],
            "no table audit: no trial that had been ended was",
        ),
        (
            ["table", "{}/s", "--table", "importanc"],
            "importanc; did you mean importance?; it has T1",
        ),
        (["table", "{}/s", "--table", "T3"], "has no table T3; it has T1, cells, search"),
        (["build", "{}/s", "--published-curves", "{}/none.csv"], "cannot be read"),
        (["table", "{}/damaged"], "not JSON"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(tmp_path, capsys, arguments, words):
    Run(tmp_path / "s")
    Run(tmp_path / "damaged")
    (tmp_path / "damaged" / "decisions.jsonl").write_text("{]\n{}\n", encoding="utf-8")
    assert main([a.format(tmp_path) for a in arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_argparse_refuses_an_unknown_format(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["table", str(tmp_path), "--format", "xls"])
    assert stop.value.code == 2
    assert "invalid choice" in capsys.readouterr().err


@pytest.mark.long
def test_importing_the_package_loads_neither_torch_nor_ray():
    heavy = ("torch", "ray", "optuna")
    code = f"import sys, analysis.cli; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
