"""The files that a user copies: each can be read by what reads it, and names what exists."""

import io
import json
import re
import shutil
import subprocess
import tomllib
from contextlib import redirect_stdout
from pathlib import Path

import jsonschema
import pytest
import yaml

from search.cli.main import main
from search.spec.study_spec import parse_spec

DEPLOY = Path(__file__).parents[2] / "deploy"
HERE = Path(__file__).parent
SCRIPTS = sorted([*DEPLOY.rglob("*.sh"), *DEPLOY.rglob("*.sbatch")])
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())
COMMAND = re.compile(r"resnet-search (run|resume|doctor|status|preview)\b((?:\\\n|[^\n;`)])*)")
SHARED = re.compile(r"^ *places=\((.*)\)$", re.M)  # options of both `run` and `resume`


def rayjob() -> tuple[dict, dict]:
    return tuple(yaml.safe_load_all((DEPLOY / "kuberay" / "rayjob.yaml").read_text()))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_sound(path):
    assert subprocess.run(["bash", "-n", path], capture_output=True).stderr == b""
    if shutil.which("shellcheck"):
        found = subprocess.run(["shellcheck", path], capture_output=True, text=True)
        assert found.stdout == ""


def test_sbatch_reads_every_line_that_is_meant_for_it():
    # below the first command it reads none, without a word
    lines = (DEPLOY / "slurm" / "resnet-search.sbatch").read_text().splitlines()
    first = next(n for n, line in enumerate(lines) if line and not line.startswith("#"))
    assert not [line for line in lines[first:] if line.startswith("#SBATCH")]
    assert "#SBATCH --signal=B:USR1@300" in lines[:first]
    assert "#SBATCH --requeue" in lines[:first]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_option_that_is_named_exists(path):
    text = path.read_text(encoding="utf-8")
    shared = [(verb, rest) for rest in SHARED.findall(text) for verb in ("run", "resume")]
    for verb, rest in COMMAND.findall(text) + shared:
        shown = io.StringIO()
        with redirect_stdout(shown), pytest.raises(SystemExit):
            main([verb, "--help"])
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", rest):
            assert re.search(rf"{option}\b", shown.getvalue()), f"{path.name}: {verb} {option}"


def test_commands_are_found_in_every_recipe():
    found = {path.parent.name for path in FILES if COMMAND.search(path.read_text("utf-8"))}
    assert {"slurm", "kuberay", "ray-job", "two-machines"} <= found


def test_the_rayjob_fits_kuberay():
    study, job = rayjob()
    jsonschema.validate(job, json.loads((HERE / "rayjob.schema.json").read_text()))
    spec = parse_spec(tomllib.loads(study["data"]["study.toml"]), "study.toml")
    assert spec.name == "depths"
    checked = subprocess.run(
        ["bash", "-n"], input=study["data"]["go.sh"], capture_output=True, text=True
    )
    assert checked.stderr == ""


def test_the_rayjob_can_start_and_its_parts_find_each_other():
    study, job = rayjob()
    cluster = job["spec"]["rayClusterSpec"]
    (workers,) = cluster["workerGroupSpecs"]
    # no trial fits a head without CPUs: with no worker at all the study would be refused
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert 1 <= workers["minReplicas"] <= workers["replicas"] <= workers["maxReplicas"]
    pods = [cluster["headGroupSpec"]["template"]["spec"], workers["template"]["spec"]]
    for pod in pods:
        held = {volume["name"] for volume in pod["volumes"]}
        assert {m["name"] for c in pod["containers"] for m in c["volumeMounts"]} == held
    assert pods[0]["volumes"][1]["configMap"]["name"] == study["metadata"]["name"]
    assert len({container["image"] for pod in pods for container in pod["containers"]}) == 1


def test_its_pods_are_such_as_kubernetes_takes():
    kubernetes = pytest.importorskip(
        "kubernetes_validate", reason="kubernetes-validate (22 MB of schemas) is not installed"
    )
    study, job = rayjob()
    kubernetes.validate(study, "1.30", strict=True)
    cluster = job["spec"]["rayClusterSpec"]
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}}
        kubernetes.validate(pod | group["template"], "1.30", strict=True)
