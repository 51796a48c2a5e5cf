"""Workers, nodes and drivers that die: nothing finished is lost, and the table stays as it was."""

from __future__ import annotations

import os
import signal

import pandas as pd
import pytest

from search import record
from tests.cluster.lab import ADDRESS, Lab, wait
from tests.cluster.studies import events, results

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(1500)]

CHANGES = ["--set", "budget.max_epochs=8", "--set", "fixed.train_images=160"]


def test_worker_node_and_driver_die_and_the_results_are_those_of_an_undisturbed_run(
    machines: Lab,
) -> None:
    run = machines.work / "runs" / "tiny"
    machines.start("head", cpus=0)
    machines.start("first")
    machines.start("second")
    machines.ready(3)
    driver = machines.driver("run", "tiny.toml", "--address", ADDRESS, *CHANGES)

    def tells() -> int:
        return sum(e["event"] == "tell" for e in events(run))

    wait(lambda: tells() >= 2 and machines.workers("first"), 400, "two jobs")
    os.kill(machines.workers("first")[0], signal.SIGKILL)
    wait(lambda: any(e["event"] == "lost" for e in events(run)), 200, "a lost worker")
    before = tells()
    wait(lambda: tells() > before and machines.workers("second"), 400, "a job after it")
    machines.kill("second")
    machines.start("third")
    wait(lambda: any(e.get("cause") == "node" for e in events(run)), 400, "a lost node")
    before = tells()
    wait(lambda: tells() > before, 400, "a job after that")
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()

    resumed = machines.driver("resume", "runs/tiny", log="resumed")  # the address is on record
    assert resumed.wait(500) == 0, machines.said("resumed")

    held = record.load(run)
    assert held.trials["attempts"].sum() == 0
    assert held.trials["losses"].sum() >= 2
    assert set(held.trials["status"]) == {"completed", "stopped"}
    assert {"third"} <= set(held.trials["node"])
    alone = machines.driver("run", "tiny.toml", "--name", "alone", *CHANGES, log="alone")
    assert alone.wait(500) == 0, machines.said("alone")
    disturbed, undisturbed = results(run), results(machines.work / "runs" / "alone")
    assert disturbed[1] == undisturbed[1]
    both = pd.concat([disturbed[0], undisturbed[0]], axis=1, join="inner")
    assert len(both) >= 40
    assert (both.iloc[:, 0] == both.iloc[:, 1]).all()
