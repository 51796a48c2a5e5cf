"""`resnet-report import`: runs of other tools as records, from exports that those tools made.

Ray and Optuna make theirs in the test. MLflow's are files in `exports/` that MLflow 3.17.2 has
written (its tables as SQL, its file store as JSON): it is too heavy to be installed for them.
Those of W&B are written here in the shapes that its documentation and its issues show.
"""

from __future__ import annotations

import csv
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from analysis.cli import main
from analysis.findings.cells import cell_values, kept_out
from search.cli.main import main as search
from search.record import load

EXPORTS = Path(__file__).parent / "exports"


def write_csv(path: Path, head: str, rows: list[list[object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head.split(","), *rows])
    return path


@pytest.fixture
def take(tmp_path, capsys):
    """Import a source; its record and what was printed."""

    def take(kind, source, toml="", *more):
        words = ["import", kind, str(source), "--out", str(tmp_path / "run"), *more]
        if toml:
            (tmp_path / "map.toml").write_text(toml, encoding="utf-8")
            words += ["--map", str(tmp_path / "map.toml")]
        assert main(words) == 0, capsys.readouterr().err
        return load(tmp_path / "run"), capsys.readouterr().out

    return take


@pytest.fixture
def refused(tmp_path, capsys):
    """What is said of a source that is refused, in one line, with nothing written."""

    def refused(kind, source, toml="", *more):
        words = ["import", kind, str(source), "--out", str(tmp_path / "run"), *more]
        if toml:
            (tmp_path / "map.toml").write_text(toml, encoding="utf-8")
            words += ["--map", str(tmp_path / "map.toml")]
        assert main(words) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert not (tmp_path / "run").exists()
        return error

    return refused


def main_values(record):
    return [v for v in cell_values(record) if v.metric == record.study["metric"]]


def outputs_of(record, capsys) -> str:
    """Everything that is made of a record; the page's text."""
    run = str(record.run)
    for table in ("cells", "search"):
        assert main(["table", run, "--table", table]) == 0
    assert main(["explain", run]) == 0
    assert "does not hold" not in capsys.readouterr().out
    assert main(["verify", run]) == 1  # that it was imported is what cannot be checked
    assert "does not hold" not in capsys.readouterr().out
    assert main(["build", run]) == 0
    page = (record.run / "report" / "index.html").read_text(encoding="utf-8")
    assert "IMPORTED: imported from" in page
    assert "REPORT PROTOCOL" not in page
    assert not record.notes
    return page


# ---- csv


def study_rows(bad_seed: bool = False) -> list[list[object]]:
    """Two models at two rates; the better rate has three seeds. Percent, epochs from 0."""
    rows = list[list[object]]()
    for model, base in (("resnet18", 90.0), ("vgg16", 80.0)):
        for lr, seeds in ((0.1, (0, 1, 2)), (1.0, (0,))):
            for seed in seeds:
                name = f"{model}-{lr}-{seed}"
                for epoch in range(4):
                    value = base - 4 + epoch + seed / 10 - (lr > 0.5) * 3
                    test = value - 1 if epoch == 3 else ""
                    if bad_seed and name == "vgg16-0.1-2" and epoch == 2:
                        value = "nan"
                    rows.append([name, model, lr, seed, epoch, 2 / (epoch + 1), value, test])
    return rows


HEAD = "run,model,lr,seed,epoch,train_loss,val_acc,test_acc"
PERCENT = '[units]\nval_acc = "percent"\ntest_acc = "percent"\n'


def test_seeds_of_the_chosen_config_are_a_cells_result_and_are_compared(tmp_path, take, capsys):
    record, said = take("csv", write_csv(tmp_path / "a.csv", HEAD, study_rows()), PERCENT)
    assert "guessed: cells = ['model']" in said
    assert "guessed: space = ['lr']" in said
    assert "epoch counts from 0 there, from 1 here" in said
    first, second = main_values(record)
    assert first.values == pytest.approx((0.88, 0.881, 0.882))
    assert (first.seeds, first.split, first.epochs) == ((0, 1, 2), "test", 4)
    assert first.config == {"lr": 0.1}
    assert first.beside == pytest.approx((0.89, 0.891, 0.892))
    assert first.marks == ("edge", "imported seeds")
    assert kept_out(first) == ()
    assert (first.bold, second.standing) == (True, "behind")
    assert first.counts.configs.run == first.counts.configs.planned == 2
    page = outputs_of(record, capsys)
    assert "⇢" in page
    assert "guessed at import" in page
    assert main(["table", str(record.run), "--table", "configs"]) == 0
    assert capsys.readouterr().out.count("| resnet18") == 2  # a row a config, not a seed
    assert search(["status", str(record.run)]) == 0
    assert "0.892" in capsys.readouterr().out  # the best of it, a seed of the chosen config


def test_a_seed_that_diverged_is_told_and_keeps_its_cell_out(tmp_path, take):
    rows = study_rows(bad_seed=True)
    record, said = take("csv", write_csv(tmp_path / "a.csv", HEAD, rows), PERCENT)
    assert "1 run diverged: val_acc is not finite at some epoch" in said
    held = record.trials.set_index("trial").loc["01-vgg16-0.1-2"]
    assert (held["status"], held["epochs"], held["stage"]) == ("diverged", 3, "confirm")
    assert kept_out(main_values(record)[1]) == ("seeds missing",)


def test_without_seeds_nothing_is_confirmed(tmp_path, take, capsys):
    rows = [row for row in study_rows() if row[3] == 0]
    record, said = take("csv", write_csv(tmp_path / "a.csv", HEAD, rows), PERCENT)
    assert "2 of 2 cells without two seeds" in said
    for value in main_values(record):
        assert "imported" in value.marks
        assert kept_out(value) == ("imported",)
        assert not value.bold
    outputs_of(record, capsys)


def test_validation_alone_is_shown_as_such(tmp_path, take, capsys):
    rows = [row[:-1] for row in study_rows()]
    source = write_csv(tmp_path / "a.csv", HEAD.replace(",test_acc", ""), rows)
    record, said = take("csv", source, '[units]\nval_acc = "percent"\n')
    assert "no scores on test: validation values are shown" in said
    first = main_values(record)[0]
    assert (first.status, first.split, first.n) == ("complete", "val", 3)
    assert first.counts.seeds.complete == 3
    outputs_of(record, capsys)


def test_a_row_a_run_with_repeats_as_seeds(tmp_path, take, capsys):
    rows = [[d, 0.5 + d / 100 + k / 50] for d in (18, 34) for k in range(3)]
    source = write_csv(tmp_path / "a.csv", "depth,val_accuracy", rows)
    record, _ = take("csv", source, "repeats_are_seeds = true\n")
    first = main_values(record)[0]
    assert first.values == pytest.approx((0.68, 0.70, 0.72))
    assert first.seeds == ()
    outputs_of(record, capsys)
    assert main(["table", str(record.run)]) == 0
    assert "seeds: not known (3 repeats)" in capsys.readouterr().out
    assert "epochs: each run stands as one" in record.study["imported"]["unknown"]


def test_a_row_a_quantity(tmp_path, take):
    rows = [[f"t{d}", d, e, n, d / e] for d in (18, 34) for e in (2, 1) for n in ("val_mae",)]
    record, said = take("csv", write_csv(tmp_path / "a.csv", "trial,depth,epoch,name,value", rows))
    assert "named by column name, its value in value" in said
    assert "2 runs whose rows are not in the order of their epochs: sorted" in said
    assert [v.seen for v in main_values(record)] == [9, 17]
    assert record.study["mode"] == "min"


def test_the_best_epoch_counts_where_the_map_says_so(tmp_path, take):
    rows = [["a", 18, e, v] for e, v in ((1, 0.5), (2, 0.9), (3, 0.7))]
    source = write_csv(tmp_path / "a.csv", "run,depth,epoch,val_accuracy", rows)
    record, _ = take("csv", source, 'rule = "best"\n')
    held = record.trials.iloc[0]
    assert (held["value"], held["value_epoch"], held["epochs"]) == (0.9, 2, 3)


def test_settings_are_named_as_files_can_be(tmp_path, take, capsys):
    rows = [["a", 18, 1, 3, 0.5], ["b", 34, 2, 4, 0.6]]
    head = "run,net/depth,a/size x,b/size x,val_accuracy"
    source = write_csv(tmp_path / "a.csv", head, rows)
    record, said = take("csv", source, 'cells = ["net/depth", "a/size x"]\nspace = ["b/size x"]\n')
    assert "net/depth is depth, a/size x is a_size_x, b/size x is b_size_x" in said
    assert record.study["cells"][1] == {"depth": 34, "a_size_x": 2}
    outputs_of(record, capsys)


def test_steps_become_epochs(tmp_path, take):
    rows = [["a", 18, step, step / 1000] for step in (100, 200, 300, 400)]
    source = write_csv(tmp_path / "a.csv", "run,depth,step,val_accuracy", rows)
    record, _ = take("csv", source, "steps_per_epoch = 200\nfirst_epoch = 1\n")
    assert record.trials["epochs"].tolist() == [2]
    assert record.trials["value"].tolist() == [0.4]


def test_stages_of_the_source_count(tmp_path, take):
    rows = [["a", 18, 0.1, 0, "search", 0.6], ["b", 18, 0.2, 0, "search", 0.5]]
    rows += [[f"c{s}", 18, 0.1, s, "confirm", 0.5 + s / 100] for s in (1, 2)]
    source = write_csv(tmp_path / "a.csv", "run,depth,lr,seed,stage,val_accuracy", rows)
    record, _ = take("csv", source)
    assert main_values(record)[0].values == pytest.approx((0.51, 0.52))
    assert main_values(record)[0].counts.configs.run == 2


@pytest.mark.parametrize(
    ("head", "rows", "toml", "words"),
    [
        (
            "run,depth,epoch,val_acc",
            [["a", 18, 1, 88.1]],
            "",
            "row 2, column val_acc: 88.1: accur",
        ),
        (
            "run,depth,epoch,val_acc",
            [["a", 18, 1, 0.5]],
            '[units]\nval_acc="percent"',
            "fractions",
        ),
        ("run,depth,epoch,val_acc", [["a", 18, 1, "hi"]], "", "row 2, column val_acc: 'hi' is no"),
        (
            "run,depth,epoch,val_acc",
            [["a", 18, 1, -0.1]],
            "",
            "row 2, column val_acc: accuracy is",
        ),
        (
            "run,depth,epoch,val_acc",
            [["a", 18, "x", 0.1]],
            "",
            "row 2, column epoch: 'x' is no num",
        ),
        ("run,depth,epoch,val_acc", [["a", 18, 1.5, 0.1]], "", "'1.5' must be a whole number"),
        ("run,depth,epoch,val_acc", [["a", 18, "", 0.1]], "", "row 2, column epoch: is empty"),
        (
            "run,depth,epoch,val_acc",
            [["a", 18, 1, 0.1]] * 2,
            "",
            "row 3, column epoch: epoch 1 of",
        ),
        ("run,depth,epoch,val_acc", [["", 18, 1, 0.1]], "", "row 2, column run: is empty"),
        (
            "run,depth,epoch,val_acc",
            [["a", 18, 1, 0.1], ["a", 34, 2, 0.1]],
            "",
            "row 3, column depth: 34 is another than 18",
        ),
        ("run,depth,epoch,val_acc", [["a", 18, 1, 0.1], ["b", "", 1, 0.1]], "", "b has no depth"),
        ("run,depth,epoch,val_acc", [["a", 18, 9, 0.1], ["b", 34, 99999, 0.1]], "", "like steps"),
        ("run,depth,epoch,val_acc", [["a", 18, 2, 0.1]], "epochs = 1", "more than epochs = 1"),
        (
            "run,depth,epoch,val_acc",
            [["a", 18, 1, 0.1]],
            'metrik = "x"',
            "metrik is no key of a map",
        ),
        ("run,depth,epoch,val_acc", [["a", 18, 1, 0.1]], 'mode = "up"', "mode is 'up'"),
        (
            "run,depth,epoch,val_acc",
            [["a", 18, 1, 0.1]],
            'metric = "x"',
            "no column 'x'; it has run",
        ),
        ("run,depth,epoch,val_acc", [["a", 18, 1, 0.1]], "a = ", "cannot be read as TOML"),
        (
            "run,depth,epoch,val_mae",
            [["a", 18, 1, 0.1]],
            'task = "cifar10"',
            "task cifar10 has loss (min), accuracy (max)",
        ),
        (
            "run,depth,epoch,val_acc,state",
            [["a", 18, 1, 0.1, "odd"]],
            "",
            "state: 'odd' is no end",
        ),
        ("run,depth,seed,val_acc", [["a", 18, -1, 0.1]], "", "column seed: -1 must be a whole"),
        (
            "run,depth,host,val_acc",
            [["a", 18, "n1", 0.1], ["b", 18, "n2", 0.1]],
            "",
            "run b is alike to run a",
        ),
        ("run,epoch,val_acc", [["a", 1, 0.1], ["b", 1, 0.1]], "", 'e.g. cells = ["run"]'),
        (
            "run,depth,epoch,val_loss,val_mae",
            [["a", 18, 1, 1, 1]],
            "",
            "ranks runs cannot be told",
        ),
        ("run,depth,epoch,goodness", [["a", 18, 1, 1]], "", 'e.g. metric = "goodness"'),
        ("run,depth,epoch,goodness", [["a", 18, 1, 1]], 'metric = "goodness"', "mode = "),
        ("depth,epoch,val_acc", [[18, 1, 0.1], [18, 1, 0.1]], "", 'trial = "..."'),
        ("run;depth;val_acc", [["a;18;0.1"]], "", "separated by commas"),
        ("run,run,val_acc", [["a", "a", 0.1]], "", "column run stands twice"),
        ("run,depth,val_acc", [["a", 18, 0.1, 4]], "", "row 2: has 4 fields"),
        ("run,depth,val_acc", [], "", "a heading and no rows"),
    ],
)
def test_a_bad_csv_or_map_is_refused_with_its_place(tmp_path, refused, head, rows, toml, words):
    assert words in refused("csv", write_csv(tmp_path / "a.csv", head, rows), toml)


def test_wrong_kinds_of_sources_are_refused(tmp_path, refused):
    text = write_csv(tmp_path / "a.csv", HEAD, [])
    assert "cannot be read" in refused("csv", tmp_path / "none.csv")
    assert "is no folder" in refused("ray", text)
    assert "has no trial's params.json" in refused("ray", tmp_path)
    assert "neither a sqlite file nor a journal" in refused("optuna", text)
    assert "is no sqlite file" in refused("mlflow", text)
    assert "has no EXPERIMENT/RUN/meta.yaml" in refused("mlflow", tmp_path)
    assert "--study names one of" in refused("csv", text, "", "--study", "a")


# ---- W&B


def test_wandbs_table_of_runs(tmp_path, take, capsys):
    rows = list[list[object]]()
    for number, (depth, seed) in enumerate([(18, 1), (18, 2), (34, 1), (34, 2), (34, 3)]):
        state = "crashed" if number == 4 else "finished"
        scores = [0.5 + depth / 100 + seed / 100, 0.4 + depth / 100] if number < 4 else ["", ""]
        rows.append([f"run-{number}", state, "2026-01-01", 60, "", depth, seed, 9, *scores])
    head = "Name,State,Created,Runtime,Sweep,depth,seed,epoch,val/acc,test/acc"
    record, said = take("wandb-csv", write_csv(tmp_path / "a.csv", head, rows))
    assert "4 completed, 1 failed; 5 of them seeds" in said
    assert "36 epochs have no val/acc" in said or "of 36 epochs" in said
    trials = record.trials.set_index("trial")
    assert trials.loc["00-run-0", "seconds"] == 60
    assert trials.loc["01-run-4", "status"] == "failed"
    assert main_values(record)[1].counts.seeds.failed == 1
    outputs_of(record, capsys)


def test_wandbs_api_export_and_its_damage(tmp_path, take, refused):
    def row(depth, summary):
        return [0, summary, str({"depth": depth, "opt": {"lr": 0.1}}), f"run-{depth}"]

    bad = write_csv(tmp_path / "a.csv", ",summary,config,name", [row(18, "{'val_acc': ")])
    assert "row 2, column summary: is no dict" in refused("wandb-csv", bad)
    summaries = [str({"val_acc": 0.6, "grad": float("nan"), "_runtime": 5.0})] * 2
    rows = [row(d, s) for d, s in zip((18, 34), summaries, strict=True)]
    record, _ = take("wandb-csv", write_csv(tmp_path / "b.csv", ",summary,config,name", rows))
    assert [v.seen for v in main_values(record)] == [0.6, 0.6]
    assert record.study["settings"] == {"opt/lr": 0.1}


def test_wandbs_chart(tmp_path, take):
    head = "Step,a - val_acc,a - val_acc__MIN,a - val_acc__MAX,b - val_acc"
    rows = [[e, 0.5 + e / 10, 0.5, 0.5, 0.6 + e / 10 if e < 2 else ""] for e in range(3)]
    record, said = take("wandb-csv", write_csv(tmp_path / "c.csv", head, rows), 'cells = ["run"]')
    assert "a chart of 2 runs; 2 columns __MIN or __MAX left out" in said
    assert record.trials["status"].tolist() == ["completed", "stopped"]
    assert [v.epochs for v in main_values(record)] == [3, 2]


# ---- Optuna


@pytest.fixture
def optuna_file(tmp_path):
    def objective(trial):
        lr, depth = trial.suggest_float("lr", 0.01, 1), trial.suggest_categorical("d", [18, 34])
        for step in range(6):
            trial.report(depth / 100 + step / 10 - abs(lr - 0.1), step)
            if trial.should_prune():
                raise optuna.TrialPruned
        if trial.number == 5:
            raise RuntimeError
        return 1.0

    file = tmp_path / "study.db"
    study = optuna.create_study(
        storage=f"sqlite:///{file}",
        study_name="first",
        direction="maximize",
        sampler=optuna.samplers.RandomSampler(seed=0),
        pruner=optuna.pruners.SuccessiveHalvingPruner(),
    )
    study.optimize(objective, n_trials=10, catch=RuntimeError)
    return file, study


def test_optunas_pruned_trials_are_stopped(optuna_file, take, capsys):
    file, study = optuna_file
    record, said = take("optuna", file, 'cells = ["d"]\n')
    assert 'guessed: mode = "max"' in said
    states = [trial.state.name for trial in study.trials]
    held = record.trials["status"].value_counts().to_dict()
    assert held["stopped"] == states.count("PRUNED") > 0
    assert held["completed"] == states.count("COMPLETE") > 0
    assert held.get("failed", 0) == states.count("FAIL")
    for trial in study.trials:
        row = record.trials[record.trials["trial"].str.endswith(f"-{trial.number}")].iloc[0]
        assert row["lr"] == trial.params["lr"]
        assert row["epochs"] == len(trial.intermediate_values)
    outputs_of(record, capsys)


def test_optunas_several_studies_need_a_name_and_a_journal_is_read(optuna_file, refused, take):
    file, _ = optuna_file
    optuna.create_study(storage=f"sqlite:///{file}", study_name="second")
    assert "name one by --study: first, second" in refused("optuna", file)
    assert "has no study 'third'" in refused("optuna", file, "", "--study", "third")
    journal = file.with_suffix(".log")
    backend = optuna.storages.journal.JournalFileBackend(str(journal))
    storage = optuna.storages.JournalStorage(backend)
    study = optuna.create_study(storage=storage, direction="minimize")
    study.optimize(lambda trial: trial.suggest_float("lr", 0.1, 1) ** 2, n_trials=3)
    record, said = take("optuna", journal)
    assert "one cell, study run" in said
    assert main_values(record)[0].seen == pytest.approx(study.best_value)


def test_another_tools_sqlite_file_is_left_as_it_is(tmp_path, refused):
    file = mlflow_base(tmp_path)
    before = file.read_bytes()
    assert "has no studies of Optuna" in refused("optuna", file)
    assert "has no studies of Optuna" in refused("optuna", f"sqlite:///{file}")
    assert "is no file" in refused("optuna", f"sqlite:///{tmp_path / 'none.db'}")
    assert file.read_bytes() == before
    assert not (tmp_path / "none.db").exists()


# ---- MLflow


def mlflow_base(folder: Path) -> Path:
    file = folder / "mlflow.db"
    base = sqlite3.connect(file)
    base.executescript((EXPORTS / "mlflow.sql").read_text(encoding="utf-8"))
    base.close()
    return file


def mlflow_files(folder: Path) -> Path:
    held = json.loads((EXPORTS / "mlflow-files.json").read_text(encoding="utf-8"))
    for name, text in held.items():
        path = folder / "mlruns" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder / "mlruns"


@pytest.mark.parametrize("store", [mlflow_base, mlflow_files])
def test_mlflows_stores(tmp_path, take, capsys, store):
    record, said = take("mlflow", store(tmp_path))
    assert "1 run left out: deleted there" in said
    assert "2 runs diverged" in said
    assert "5 completed" in said
    assert "1 failed" in said
    values = main_values(record)
    assert [v.given for v in values] == [{"depth": 18}, {"depth": 34}]
    assert values[0].config == {"lr": 0.1}
    assert values[0].values == pytest.approx((0.698, 0.7005))  # 0.68 + 18 / 1000 + seed / 400
    assert values[1].values == pytest.approx((0.714, 0.7165))
    assert values[0].seeds == (0, 1)
    outputs_of(record, capsys)


def test_a_damaged_mlflow_file_is_named(tmp_path, refused):
    store = mlflow_files(tmp_path)
    path = next(store.glob("*/*/metrics/val_accuracy"))
    path.write_text("yesterday 0.5 1\n", encoding="utf-8")
    assert f"{path}, row 1: 'yesterday 0.5 1'" in refused("mlflow", store)


# ---- Ray


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_real_experiment_of_ray(tmp_path, take, refused, capsys):
    script = [sys.executable, str(EXPORTS / "ray_run.py"), str(tmp_path / "ray")]
    # Ray's own files of results, which our driver switches off where it was loaded
    own = {k: v for k, v in os.environ.items() if not k.startswith("TUNE_")}
    done = subprocess.run(script, capture_output=True, text=True, timeout=380, env=own)
    folder = tmp_path / "ray" / "exp"
    assert folder.is_dir(), done.stderr
    assert "name one of exp in it" in refused("ray", folder.parent)
    # the failed trial's is empty: no line of it is whole
    result = next(path for path in folder.glob("*/result.json") if path.stat().st_size)
    whole = result.read_bytes()
    result.write_bytes(b"{" + whole)
    assert f"{result}, row 1: is no JSON" in refused("ray", folder)
    result.write_bytes(whole)
    record, said = take("ray", folder)
    assert "guessed: cells = ['point/depth']" in said
    assert "3 completed, 1 failed" in said
    first, second = main_values(record)
    assert first.values == pytest.approx((0.818, 0.828))
    assert (first.seeds, first.given) == ((0, 1), {"depth": 18})
    assert "named otherwise here: point/depth is depth, point/lr is lr" in said
    assert "imported" in second.marks
    failed = record.trials[record.trials["status"] == "failed"].iloc[0]
    assert "boom" in failed["error"]
    outputs_of(record, capsys)
