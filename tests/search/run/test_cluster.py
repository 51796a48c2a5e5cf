"""A Ray that is started here: nobody else reaches it, over the network or through its files."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from ray.util import get_node_ip_address

from search.run import cluster

pytestmark = pytest.mark.timeout(120)

LOCAL = """
import json, os, socket, stat, struct, tempfile
from pathlib import Path

import ray
from search.run import cluster
from tests.processes import tree

LISTENS = "0A"


def address(text):
    raw = bytes.fromhex(text)
    words = b"".join(raw[n : n + 4][::-1] for n in range(0, len(raw), 4))
    return socket.inet_ntop(socket.AF_INET6 if len(raw) == 16 else socket.AF_INET, words)


def listening():
    held = set()
    for pid in tree(os.getpid()):
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                held.add(os.readlink(link))
            except OSError:
                continue
    for name in ("tcp", "tcp6"):
        path = Path("/proc/net") / name
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            words = line.split()
            if words[3] == LISTENS and f"socket:[{words[9]}]" in held:
                yield address(words[1].partition(":")[0])


said = []
cluster.connect("local", 1, said.append)
ray.get(ray.remote(num_cpus=1)(lambda: os.getpid()).remote())
(folder,) = Path(tempfile.gettempdir()).glob("rtune-*")
found = {
    "at": sorted(listening()),
    "said": said,
    "modes": {p.name: oct(stat.S_IMODE(p.stat().st_mode)) for p in (folder, *folder.iterdir())},
    "folder": folder.name,
}
cluster.disconnect()
print(json.dumps({**found, "left": folder.exists()}))
"""


@pytest.fixture(scope="module")
def local():
    """What there is of a Ray while it runs for another process."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # Ray's sockets allow no long path
        words = ["env", "-u", "RAY_TMPDIR", f"TMPDIR={folder}", sys.executable, "-c", LOCAL]
        done = subprocess.run(words, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.skipif(get_node_ip_address() == "127.0.0.1", reason="it has no other address")
def test_it_listens_on_loopback_alone(local):
    assert len(local["at"]) >= 4  # Ray's head, its raylet (twice), the driver
    assert set(local["at"]) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert local["said"] == []


def test_its_folder_and_token_are_for_this_user_alone(local):
    """Ray opens its own folder to everybody, so that is one inside ours."""
    assert local["modes"].pop(local["folder"]) == "0o700"
    assert local["modes"].get("auth_token", "0o600") == "0o600"
    assert not local["left"]


JOIN = """
import sys
from search.run import cluster
from search.run.errors import ExecutionError

try:
    cluster.connect(sys.argv[1])
    print(cluster.joined())
except ExecutionError as error:
    sys.exit(str(error))
cluster.disconnect()
"""
RAY = str(Path(sys.executable).parent / "ray")


@pytest.fixture
def guarded(closed):
    """A head that asks for a token; its address, and the environment of whoever starts it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        own = {key: value for key, value in os.environ.items() if "RAY_A" not in key}
        own |= {"HOME": folder, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # on loopback
        subprocess.run([RAY, "get-auth-token", "--generate"], env=own, check=True)
        words = [RAY, "start", "--head", "--block", f"--port={closed}", "--num-cpus=1"]
        words += [f"--temp-dir={folder}/r", "--include-dashboard=false", "--disable-usage-stats"]
        log = Path(folder) / "log"
        with log.open("w") as out:
            head = subprocess.Popen(words, env=own, stdout=out, stderr=out, start_new_session=True)
        try:
            while "Ray runtime started" not in log.read_text():
                assert head.poll() is None, log.read_text()
                time.sleep(0.2)
            yield f"127.0.0.1:{closed}", own
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(head.pid, signal.SIGKILL)
            head.wait()


@pytest.mark.slow
def test_what_is_said_of_a_token_that_lacks_or_is_another_lets_one_in(guarded, tmp_path):
    address, own = guarded
    stranger = own | {"HOME": str(tmp_path)}

    def join(**more):
        words = [sys.executable, "-c", JOIN, address]
        return subprocess.run(words, env=stranger | more, capture_output=True, text=True)

    for held in ({}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "another" * 8}):
        done = join(**held)
        assert done.returncode == 1, done.stdout
        (said,) = done.stderr.splitlines()
        assert f"the Ray cluster does not take our token at --address {address}" in said
        assert "start one" not in said
    tell, switch = re.search("(`ray get-auth-token`), .*`export (RAY.*)=TOKEN`", said).groups()
    words = tell.strip("`").split()
    token = subprocess.run([RAY, *words[1:]], env=own, capture_output=True, text=True).stdout
    mode, name = switch.split()
    done = join(**dict([mode.split("=")]), **{name: token})
    assert done.returncode == 0, done.stderr
    assert "1 node" in done.stdout


KILLS = """
import os, signal, sys, time
from pathlib import Path

import ray
from search.run import cluster, ray_lines

folder = Path(sys.argv[1])

def say(text):  # one write, as a console's: print writes its line end by itself
    sys.stdout.write(text + "\\n")

with ray_lines.kept(folder, folder.is_dir, say):
    cluster.connect("local", 1)
    task = ray.remote(num_cpus=1, max_retries=0)(lambda: os.kill(os.getpid(), signal.SIGKILL))
    try:
        ray.get(task.remote())
    except ray.exceptions.WorkerCrashedError:
        say("it died")
    time.sleep(5)
    cluster.disconnect()
"""


@pytest.mark.slow
@pytest.mark.parametrize("begun", [True, False])
def test_what_ray_itself_says_of_a_worker_is_kept_and_not_printed_as_it_is(tmp_path, begun):
    folder = tmp_path / "run"
    if begun:
        folder.mkdir()
    words = [sys.executable, "-c", KILLS, str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert "it died" in said
    text = (folder / "ray.log").read_text() if begun else done.stdout
    assert "(raylet) A worker died or was killed" in text
    if begun:  # told once where it is
        assert sorted(said) == sorted(
            ["it died", f"note: what Ray itself says is in {folder}/ray.log"]
        )
    else:
        assert all(line.startswith("Ray: (raylet)") for line in said if line != "it died")


def test_the_recipe_says_the_same_of_tokens():
    root = Path(__file__).parents[3]
    text = (root / "deploy" / "two-machines" / "README.md").read_text(encoding="utf-8")
    assert cluster.TOKEN in " ".join(text.split())
