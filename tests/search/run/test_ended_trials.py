"""Ray Tune keeps no trial that is over, but the last."""

import gc
import weakref

import pytest

from search.run import cluster  # noqa: F401 - first: it sets what ray reads when imported
from search.run.ray_schedulers import scheduler_of
from tests.search.run.test_ray_schedulers import BUDGET, REPORT, ShortJobs, run_all

from ray import tune  # isort: skip
from ray.train._internal.storage import StorageContext
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.registry import register_trainable


@pytest.fixture
def controller(tmp_path, monkeypatch):
    """Ray Tune's own, with a rule's scheduler; no Ray is started, whose folder it would use."""
    session = str(tmp_path / "session")
    monkeypatch.setattr(StorageContext, "_get_session_path", lambda self: session)

    def make(rule):
        storage = StorageContext(storage_path=str(tmp_path), experiment_dir_name="held")
        register_trainable("job", lambda config: None)
        return TuneController(scheduler=scheduler_of(rule, BUDGET, "max"), storage=storage)

    return make


def begun(controller):
    """A trial that Ray has on a worker and has heard of."""
    trial = Trial("job", config={"job": "x" * 5000}, storage=controller._storage)
    trial.init_local_path()
    controller.add_trial(trial)
    controller._set_trial_status(trial, Trial.RUNNING)
    controller._maybe_add_actors()  # of each step; none waits for one
    trial.update_last_result({"training_iteration": 1, "value": 1.0, "epoch": 1})
    return trial


def failed(controller, trial):
    controller._process_trial_failure(trial, RuntimeError("its worker died"))


def stopped(controller, trial):
    controller.stop_trial(trial)


@pytest.mark.parametrize("rule", ["cell-promote", "ray-asha"])
@pytest.mark.parametrize("end", [stopped, failed])
def test_of_trials_that_are_over_ray_holds_the_last_alone(controller, rule, end):
    held = controller(rule)
    runs = begun(held)
    ended = []
    for number in range(5):
        trial = begun(held)
        if number == 2:
            held._get_trial_checkpoints()  # as Ray's snapshot does
        end(held, trial)
        held._mark_trial_to_checkpoint(trial)  # as where its worker was there to be stopped
        ended.append(weakref.ref(trial))
        del trial
    gc.collect()
    assert [ref() is None for ref in ended] == [True, True, True, True, False]
    assert held.get_trials() == [runs, ended[-1]()]
    assert not held.is_finished()
    assert len(held._get_trial_checkpoints()) == 2
    stopped(held, runs)
    assert all(trial.is_finished() for trial in held.get_trials())


def test_a_trial_that_ray_starts_once_more_is_kept(controller):
    held = controller("cell-promote")
    again, *others = [begun(held) for _ in range(3)]  # before any waits: no worker is there for it
    held._try_recover(again, RuntimeError("its node was taken"))
    assert again.status == Trial.PENDING
    stopped(held, others[0])
    assert again in held.get_trials()
    stopped(held, again)
    stopped(held, others[1])
    assert held.get_trials() == [others[1]]


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_nothing_else_of_a_real_experiment_holds_the_trials_that_are_over(tmp_path):
    seen = []
    alive = []

    class Counts(tune.Callback):
        def on_trial_start(self, iteration, trials, trial, **info):
            seen.append(weakref.ref(trial))

        def on_trial_complete(self, iteration, trials, trial, **info):
            gc.collect()
            alive.append(sum(ref() is not None for ref in seen))

    def job(config):
        tune.report(REPORT)

    study = ShortJobs(40, tmp_path)
    run_all(study, job, tmp_path, Counts())
    assert len(study.told) == 40
    assert max(alive) <= 6  # two that run, the last that ended, and what Ray is just at
