import os
import platform
import subprocess
import sys

import pytest

from trainables.engine.memory import OWN

CODE = """
import resource, torch
from trainables.engine import memory
{call}
def pages():
    torch.ones(12 * 2**20)  # 48 MiB, freed at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
first = [pages() for _ in range(20)][-1]
print([pages() for _ in range(10)][-1] - first)
"""


def faults(call, **given):
    """Pages of 4 KiB that ten large tensors, one after another, had to be given anew."""
    kept = {name: value for name, value in os.environ.items() if name not in OWN}
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(call=call)],
        env=kept | given,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_what_a_large_tensor_has_freed_is_there_for_the_next():
    whole = 10 * 12 * 2**20 * 4 // 4096  # every page of every tensor
    assert faults("") > whole / 2
    assert faults("memory.keep_freed()") < whole / 10
    # whoever sets the allocator has their way
    assert faults("memory.keep_freed()", MALLOC_MMAP_MAX_="65536") > whole / 2


HELD = """
import torch
from pathlib import Path
from trainables.engine import memory
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 // 2**20
memory.keep_freed()
blocks = [torch.ones(4 * 2**20) for _ in range(16)]  # 256 MiB
kept = torch.ones(1024)  # above them
del blocks
before = resident()
memory.give_back()
print(before - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_at_the_end_of_a_trial_what_was_kept_is_given_back():
    kept = {name: value for name, value in os.environ.items() if name not in OWN}
    done = subprocess.run(
        [sys.executable, "-c", HELD], env=kept, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) > 200
