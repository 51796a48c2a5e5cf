"""What a probe takes is what a trial takes."""

import subprocess
import sys
from pathlib import Path

import pytest

PEAK = """
import sys
from pathlib import Path
from trainables import find_task
from trainables.engine.probe import probe
task = find_task("shanghaitech")
config = {name: setting.default for name, setting in task.settings.items()}
config |= {"edition": "synthetic", "network": "mobilenet_v3_small", "crop": 256}
config |= {"train_images": 10, "test_images": 2, "checkpoint_rule": sys.argv[1]}
config |= {"momentum": 0.0, "optimizer": "sgd"}
probe(task, config, Path("none"), 0, "cpu")
# getrusage's peak is at least that of the process which started this one
held = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()
print(float(held[0]) / 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read a peak from")
def test_the_best_weights_that_a_trial_keeps_are_part_of_what_it_takes():
    """The network of a 256x256 crop has 260 MiB of weights; each process has its own peak."""
    peaks = []
    for rule in ("last", "best"):
        done = subprocess.run([sys.executable, "-c", PEAK, rule], capture_output=True, text=True)
        peaks.append(float(done.stdout))
    assert peaks[1] - peaks[0] > 250
