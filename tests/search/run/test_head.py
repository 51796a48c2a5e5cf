"""A head that takes connections and answers nothing: said, and the run ended, in bounded time."""

import subprocess
import sys
import time

import pytest

DRIVER = """
import socket, sys, time
import ray
from search.run import head

head.EVERY, head.LOST, head.PATIENCE = 0.05, 0.5, 0.2
ray.nodes = lambda: time.sleep({takes})
with socket.create_server(("127.0.0.1", 0)) as server:
    address = "127.0.0.1:%d" % server.getsockname()[1]
    with head.watched(address, "go on: resume"):
        if {loop}:
            head.stepped()
        time.sleep(4)  # the driver waits for an answer of its own
"""


@pytest.mark.parametrize(
    ("takes", "loop", "ends"),
    [(100, True, True), (0, True, False), (100, False, False)],
    ids=["hangs", "answers", "no jobs yet"],
)
def test_a_head_that_hangs_is_told_and_ends_the_run(takes, loop, ends):
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", DRIVER.format(takes=takes, loop=loop)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == int(ends), done.stderr
    assert ("Ray's head at 127.0.0.1:" in done.stderr) == ends
    assert ("go on: resume" in done.stderr) == ends
    assert time.monotonic() - began < 50
