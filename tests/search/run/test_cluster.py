"""A Ray that is started here: nobody else reaches it, over the network or through its files."""

import json
import subprocess
import sys
import tempfile

import pytest
from ray.util import get_node_ip_address

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
