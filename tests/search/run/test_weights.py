"""Networks of a finished study become weights that another one starts from, with their origin."""

import json
import tomllib

import pytest
import torch
from torchvision.models import resnet18

from search import record
from search.cli.main import main
from search.record import RecordError, manifest
from search.run.errors import ExecutionError
from search.run.job_form import Places
from search.run.lineage import _may_have_seen, check_split, same_data
from search.run.options import PreflightError
from search.run.weights import write_weights
from search.spec.study_spec import SpecError, parse_spec
from tests.search.conftest import Silent, begin, open_study
from tests.tiny import execute
from trainables import find_task
from trainables.resnet import (
    WeightsError,
    describe_weights,
    find_own_weights,
    read_origin,
)

pytestmark = pytest.mark.long

SOURCE = """
name = "source"
task = "cifar10"
keep_checkpoints = true
[cells]
depth = [18]
[fixed]
edition = "synthetic"
lr = 0.05
train_images = 64
val_images = 32
test_images = 32
batch_size = 16
[budget]
max_epochs = 2
[confirm]
seeds = [1, 2]
"""

CROWD = """
name = "crowds"
task = "shanghaitech"
keep_checkpoints = true
[cells]
depth = [18]
[budget]
max_epochs = 1
[confirm]
seeds = [1]
[fixed]
edition = "synthetic"
head = "conv"
crop = 64
train_images = 4
val_images = 2
test_images = 2
train_sample = 2
batch_size = 2
"""


def run(study):
    """Run a study's jobs one after another in this process, really trained."""
    while (worker_job := study.ask()) is not None:
        told = execute(worker_job, lambda row, name=worker_job.trial: study.epoch(name, row))
        assert told["ending"] == "value", told
        study.tell(worker_job.trial, told)
    study.close()
    return study.folder


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A finished study with its checkpoints; its second seed is the better one."""
    folder = tmp_path_factory.mktemp("runs") / "source"
    spec = parse_spec(tomllib.loads(SOURCE), "source.toml")
    data = [find_task("cifar10").fingerprint(folder, spec.config(spec.cell_values()[0], {}))]
    begin(folder, spec, SOURCE, data)
    return run(open_study(spec, folder, Places(folder, {}, {}), Silent()))


def test_the_weights_are_those_of_the_checkpoint_that_validation_chose(source, tmp_path):
    trials = record.load(source).trials
    best = trials.loc[trials["value"].idxmax()]
    (path,) = write_weights(source, tmp_path / "mine")
    held = torch.load(source / "checkpoints" / f"{best['trial']}.pt", weights_only=True)
    wanted = held["best_weights"] or held["net"]
    written = torch.load(path, weights_only=True)
    assert path.name == "resnet18.pth"
    assert all(torch.equal(written[name], value) for name, value in wanted.items())
    net = resnet18(num_classes=10)
    net.load_state_dict(written)  # torchvision's names, every one of them
    origin = json.loads(path.with_suffix(".json").read_text())
    assert (origin["study"], origin["trial"]) == ("source", best["trial"])
    assert origin["value"] == {"val_accuracy": best["value"]}
    assert origin["data"][0]["synthetic"] is True
    assert {p.name for p in path.parent.iterdir()} == {"resnet18.pth", "resnet18.json"}


def test_another_study_starts_from_them_and_its_record_says_whose_they_are(source, tmp_path):
    write_weights(source, tmp_path / "source")
    path = find_own_weights(18, tmp_path, "source")
    text = SOURCE.replace("depth = [18]", "depth = [18]\npretrained = [true]")
    spec = parse_spec(tomllib.loads(f'weights = "source"\n{text}'), "t.toml")
    held = manifest.describe(spec, {0: path})["18"]
    assert (held["source"], held["origin"]["study"]) == ("source", "source")
    assert not held["official"]
    net = find_task("cifar10").network(spec.config(spec.cell_values()[0], {}), path)
    written = torch.load(path, weights_only=True)
    assert torch.equal(net.state_dict()["layer4.1.conv2.weight"], written["layer4.1.conv2.weight"])
    assert not torch.equal(net.state_dict()["fc.weight"], written["fc.weight"])


def test_weights_that_are_there_are_not_overwritten(source, tmp_path):
    (path,) = write_weights(source, tmp_path / "mine")
    before = path.read_bytes()
    with pytest.raises(RecordError, match=r"already there.*--out"):
        write_weights(source, tmp_path / "mine")
    assert path.read_bytes() == before


def test_a_study_without_kept_checkpoints_is_told_how_to_keep_them(make_study, tmp_path):
    study = make_study(text=SOURCE.replace("keep_checkpoints = true", ""))
    folder = run(study)
    with pytest.raises(RecordError, match="keep_checkpoints = true"):
        write_weights(folder, tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize(
    ("settings", "lacks"),
    [
        ("last_layer = 3", "layer4.0.conv1.weight"),
        ('last_layer = 4\nnorm = "group"', "bn1.running_mean"),
        ("last_layer = 4", ""),
    ],
)
def test_of_crowd_networks_whole_resnets_alone_become_weights(
    make_study, tmp_path, settings, lacks
):
    folder = run(make_study(text=f"{CROWD}{settings}\n"))
    if lacks:
        with pytest.raises(RecordError, match=rf"00-seed1 .* lacks {lacks} .*last_layer = 4"):
            write_weights(folder, tmp_path / "mine")
        assert not (tmp_path / "mine").exists()
        return
    (path,) = write_weights(folder, tmp_path / "mine")
    task = find_task("shanghaitech")
    defaults = {key: setting.default for key, setting in task.settings.items()}
    net = task.network({**defaults, "head": "conv", "pretrained": True}, path)
    written = torch.load(path, weights_only=True)
    assert torch.equal(
        net.state_dict()["layer3.1.bn2.running_var"], written["layer3.1.bn2.running_var"]
    )


def test_an_unfinished_study_has_no_weights_yet(make_study, tmp_path):
    study = make_study(text=SOURCE)
    study.close()
    with pytest.raises(RecordError, match="resume"):
        write_weights(study.folder, tmp_path / "mine")


def test_cells_of_one_depth_are_chosen_among_by_number(make_study, tmp_path):
    text = SOURCE.replace("depth = [18]", 'depth = [18]\nstem = ["imagenet", "cifar"]')
    study = make_study(text=text.replace("seeds = [1, 2]", "seeds = [1]"))
    folder = run(study)
    with pytest.raises(RecordError, match=r"--cell.*0 \(depth 18, stem imagenet\); 1 "):
        write_weights(folder, tmp_path / "mine")
    write_weights(folder, tmp_path / "mine", cell=1)
    state = torch.load(tmp_path / "mine" / "resnet18.pth", weights_only=True)
    assert state["conv1.weight"].shape == (64, 3, 3, 3)
    with pytest.raises(RecordError, match="there are 0 to 1"):
        write_weights(folder, tmp_path / "other", cell=2)


def test_the_command_writes_where_a_study_looks(source, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RESNET_TUNE_WEIGHTS", raising=False)
    assert main(["weights", str(source)]) == 0
    shown = capsys.readouterr().out
    assert "weights/source/resnet18.pth: trial 00-seed" in shown
    assert 'weights = "source"' in shown
    assert find_own_weights(18, tmp_path / "weights", "source").is_file()


def test_own_weights_that_are_not_there_are_asked_for_by_path(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["run", "quickstart-cifar10", "--set", "weights=mine", "--weights-dir", "held"]
    assert main(words) == 2
    error = capsys.readouterr().err
    for depth in (18, 34):
        assert f"held/mine/resnet{depth}.pth" in error
    assert "resnet-search weights RUN" in error


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.with_suffix(".json").write_text("{"), "resnet18.json"),
        (lambda path: path.write_bytes(path.read_bytes()[:9999]), "no loadable weights file"),
        (lambda path: torch.save({"conv1.weight": torch.ones(3)}, path), "does not fit ResNet-18"),
    ],
)
def test_damaged_own_weights_are_refused_before_ray(
    source, tmp_path, monkeypatch, capsys, damage, said
):
    monkeypatch.chdir(tmp_path)
    (path,) = write_weights(source, tmp_path / "weights" / "mine")
    damage(path)
    words = ["run", "quickstart-cifar10", "--set", "weights=mine", "--depth", "18"]
    assert main(words) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert "starting Ray" not in shown.out
    assert not (tmp_path / "runs" / "quickstart-cifar10").exists()


def _no_ray(*where):
    raise ExecutionError("Ray is not started here")


def test_weights_that_have_seen_the_validation_images_are_refused(
    source, tmp_path, monkeypatch, capsys
):
    """The source cut its validation off by seed 0."""
    monkeypatch.chdir(tmp_path)
    write_weights(source, tmp_path / "weights" / "mine")
    words = ["run", "quickstart-cifar10", "--set", "weights=mine", "--depth", "18"]
    for other in ("seed=5", "fixed.val_fraction=0.2"):
        assert main([*words, "--set", other]) == 2
        shown = capsys.readouterr()
        assert "cut validation off by seed = 0, val_fraction = 0.1, not by" in shown.err
        assert "starting Ray" not in shown.out
    # nothing else stands in the way: it goes on to start Ray
    monkeypatch.setattr("search.run.cluster.connect", _no_ray)
    assert main(words) != 0
    assert "cut validation off" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["imagenet", "IMAGENET1K_V1", "imagenet1k_v2", "Synthetic"])
def test_a_name_that_sounds_like_another_source_is_refused(name):
    with pytest.raises(SpecError, match=r"weights: must be 'imagenet1k_v1'"):
        parse_spec(tomllib.loads(f'weights = "{name}"\n{SOURCE}'), "t.toml")


@pytest.mark.parametrize("name", ["../elsewhere", "/tmp/x", ".."])
def test_a_name_stays_in_the_weights_folder(name):
    with pytest.raises(SpecError, match="weights: must be letters"):
        parse_spec(tomllib.loads(f'weights = "{name}"\n{SOURCE}'), "t.toml")


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_damaged_origin_is_named(tmp_path, text):
    path = tmp_path / "resnet18.pth"
    path.write_bytes(b"weights")
    path.with_suffix(".json").write_text(text)
    with pytest.raises(WeightsError, match=r"resnet18.json"):
        describe_weights(path)


DATA = {"data": "CIFAR-10", "edition": "parquet", "labels_sha256": "a", "synthetic": False}
SEEN = {"study": "first", "task": "cifar10", "data": [DATA], "split_seed": 0, "val_fraction": 0.1}


@pytest.fixture
def refusal(tmp_path):
    """A function (origin, data) -> why weights of that origin are refused, or what is said."""
    spec = parse_spec(tomllib.loads(f'weights = "mine"\n{SOURCE}'), "t.toml")

    def why(origin, data=DATA):
        path, said = tmp_path / "resnet18.pth", []
        path.touch()
        path.with_suffix(".json").unlink(missing_ok=True)
        if origin is not None:
            path.with_suffix(".json").write_text(json.dumps(origin))
        try:
            check_split(spec, [data], {0: path}, said.append)
        except PreflightError as error:
            return str(error)
        return " ".join(said)

    return why


def test_weights_of_the_same_split_or_of_other_images_are_taken(refusal):
    assert refusal({**SEEN, "ancestors": []}) == ""
    assert refusal({**SEEN, "data": [{"data": "ShanghaiTech Part A"}], "split_seed": 9}) == ""


def test_the_same_images_in_another_edition_are_the_same_images(refusal):
    """Another order of them: equal seeds do not keep the same ones for validation."""
    binary = {**DATA, "edition": "binary", "labels_sha256": "b"}
    assert "another edition of CIFAR-10" in refusal(SEEN, binary)
    assert "cut validation off by seed = 7" in refusal({**SEEN, "split_seed": 7}, binary)


def test_own_images_are_known_by_their_files_whatever_their_folder_is_called(refusal):
    own = {"data": "images of flowers", "edition": "files", "files_sha256": "a"}
    copied = {**own, "data": "images of blumen"}
    seen = {**SEEN, "task": "imagefolder", "data": [own]}
    assert refusal(seen, copied) == ""
    assert "cut validation off by seed = 7" in refusal({**seen, "split_seed": 7}, copied)
    assert same_data([own], [copied])
    assert not same_data([own], [{**copied, "files_sha256": "b"}])


def test_where_validation_has_a_folder_of_its_own_seeds_cut_nothing(refusal):
    own = {"data": "images of flowers", "edition": "files", "files_sha256": "a", "val_images": 9}
    assert refusal({**SEEN, "data": [own], "split_seed": 7}, own) == ""
    assert "another edition" in refusal({**SEEN, "data": [own]}, {**own, "files_sha256": "b"})


def test_what_a_network_s_ancestors_have_seen_counts(refusal):
    """Fine-tuned on crowds, from a network that had seen the validation images."""
    crowd = {"study": "second", "task": "shanghaitech", "data": [{"data": "ShanghaiTech Part B"}]}
    held = {**crowd, "split_seed": 0, "ancestors": [{**SEEN, "split_seed": 5}]}
    assert "study first cut validation off by seed = 5" in refusal(held)
    assert refusal({**held, "ancestors": [SEEN]}) == ""


def test_where_it_is_not_known_what_was_seen_weights_are_refused(refusal):
    old = {key: value for key, value in SEEN.items() if key != "val_fraction"}
    assert refusal({**old, "config": {}}) == ""  # 0.1, the task's default
    assert "does not say from what (key ancestors)" in refusal(
        {**old, "config": {"pretrained": True}}
    )
    assert "add split_seed and val_fraction" in refusal({"data": "CIFAR-10"})
    assert "add split_seed and val_fraction" in refusal({"data": ["CIFAR-10"], "split_seed": 0})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data": None}, "data must name the images seen"),
        ({"data": ""}, "data must name the images seen"),
        ({"data": 3}, "data must name the images seen"),
        ({"data": [{"edition": "parquet"}]}, "data must name the images seen"),
        ({"data": [["CIFAR-10"]]}, "data must name the images seen"),
        ({"split_seed": "0"}, "split_seed must be a whole number, not '0'"),
        ({"split_seed": True}, "split_seed must be a whole number, not True"),
        ({"val_fraction": "a tenth"}, "val_fraction must be a number"),
        ({"study": 3}, "study must be a text"),
        ({"config": "pretrained"}, "config must be an object"),
        ({"ancestors": "none"}, "ancestors must be a list of objects"),
        ({"ancestors": None}, "ancestors must be a list of objects"),
        ({"ancestors": [3]}, "ancestors must be a list of objects"),
        ({"ancestors": [{"study": "older"}]}, "ancestors.0.data must name the images seen"),
    ],
)
def test_an_origin_of_wrong_types_is_refused_by_key(refusal, change, said):
    """Nothing was held against an origin without data, and some of these ended in a traceback."""
    message = refusal({**SEEN, **change})
    assert "resnet18.json does not say where it is from" in message
    assert said in message


def test_every_key_at_fault_of_an_origin_is_told_at_once(refusal):
    message = refusal({"split_seed": "0", "ancestors": [{"data": "x", "val_fraction": []}]})
    for key in ("data", "split_seed", "ancestors.0.val_fraction"):
        assert f"{key} must" in message


def test_an_origin_that_has_seen_no_study_s_images_says_so(refusal):
    assert refusal({"data": []}) == ""
    assert refusal({"data": ["my own scans"]}) == ""


@pytest.mark.parametrize("name", ["cifar10", "CIFAR 10", "Cifar-10"])
def test_images_under_another_spelling_are_the_same_images(refusal, name):
    seen = {**SEEN, "data": name, "split_seed": 7}
    assert "cut validation off by seed = 7" in refusal(seen)
    assert "does not say which edition" in refusal({**SEEN, "data": name})


@pytest.mark.parametrize(
    "text", ['{"data": [], "data": ["CIFAR-10"]}', '{"val_fraction": NaN}', "[" * 100_000]
)
def test_an_origin_that_says_a_thing_twice_or_no_number_is_named(tmp_path, text):
    path = tmp_path / "resnet18.pth"
    path.with_suffix(".json").write_text(text)
    with pytest.raises(WeightsError, match=r"resnet18.json: cannot be read as JSON"):
        read_origin(path)


def test_all_that_is_wrong_with_several_depths_is_told_before_ray(tmp_path, monkeypatch, capsys):
    """A whole number in place of a tensor's floating ones ended in a traceback."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "weights" / "mine"
    folder.mkdir(parents=True)
    state = resnet18().state_dict()
    state["conv1.weight"] = state["conv1.weight"].to(torch.int8)
    state["bn1.running_var"][0] = -1
    torch.save(state, folder / "resnet18.pth")
    (folder / "resnet18.json").write_text("{")
    (folder / "resnet34.pth").mkdir()
    assert main(["run", "quickstart-cifar10", "--set", "weights=mine"]) == 2
    shown = capsys.readouterr()
    for said in (
        "conv1.weight: is of type torch.int8",
        "bn1.running_var (least -1): a negative running variance",
        "resnet18.json: cannot be read as JSON",
        f"depth 34: {folder / 'resnet34.pth'} is a folder",
    ):
        assert said in shown.err
    assert "starting Ray" not in shown.out
    assert not (tmp_path / "runs" / "quickstart-cifar10").exists()


def test_what_is_odd_about_weights_is_printed_before_ray(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "weights" / "mine"
    folder.mkdir(parents=True)
    torch.save(resnet18().state_dict(), folder / "resnet18.pth")
    words = ["run", "quickstart-cifar10", "--set", "weights=mine", "--depth", "18"]
    monkeypatch.setattr("search.run.cluster.connect", _no_ray)
    assert main(words) != 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "note: depth 18:" in shown
    assert "running statistics are a new network's, as if it had never been trained" in shown


def test_weights_that_say_nothing_of_themselves_are_taken_and_that_is_said(refusal):
    assert "no json beside it says what images it has seen" in refusal(None)


def test_a_grandchild_carries_every_ancestor(source, make_study, tmp_path):
    """Three studies, each really trained from the one before."""
    write_weights(source, tmp_path / "w" / "source")
    text = SOURCE.replace("depth = [18]", "depth = [18]\npretrained = [true]")
    text = text.replace("seeds = [1, 2]", "seeds = [1]").replace(
        "max_epochs = 2", "max_epochs = 1"
    )
    for parent, name in (("source", "child"), ("child", "grandchild")):
        path = find_own_weights(18, tmp_path / "w", parent)
        spec = parse_spec(
            tomllib.loads(f'weights = "{parent}"\n{text.replace("source", name)}'), "t.toml"
        )
        data = [find_task("cifar10").fingerprint(tmp_path, spec.config(spec.cell_values()[0], {}))]
        begin(tmp_path / name, spec, text, data, {0: path})
        run(open_study(spec, tmp_path / name, Places(tmp_path, {0: path}, {}), Silent()))
        (written,) = write_weights(tmp_path / name, tmp_path / "w" / name)
    origin = json.loads(written.with_suffix(".json").read_text())
    assert [seen["study"] for seen in origin["ancestors"]] == ["child", "source"]
    assert all(seen["split_seed"] == 0 for seen in origin["ancestors"])


def test_without_validation_images_no_network_is_the_best(make_study, tmp_path):
    """The trial that test puts first would be chosen on test."""
    text = SOURCE.replace("lr = 0.05", "lr = 0.05\nval_fraction = 0.0")
    text = text.replace("cifar10", "shanghaitech").replace("seeds = [1, 2]", "seeds = [1, 2]")
    text = text.replace("keep_checkpoints", 'protocol = "report"\nkeep_checkpoints')
    text = text.replace("batch_size = 16", "crop = 64").replace("val_images = 32\n", "")
    text = text.replace("_images = 64", "_images = 8").replace("_images = 32", "_images = 8")
    text = text.replace("max_epochs = 2", "max_epochs = 1").replace("lr = 0.05", "lr = 0.001")
    study = make_study(text=text)
    folder = run(study)
    with pytest.raises(RecordError, match=r"no validation images.*--trial: 00-seed1, 00-seed2"):
        write_weights(folder, tmp_path / "mine")
    (path,) = write_weights(folder, tmp_path / "mine", trial="00-seed2")
    assert json.loads(path.with_suffix(".json").read_text())["trial"] == "00-seed2"
    with pytest.raises(RecordError, match="no trial 00-seed9"):
        write_weights(folder, tmp_path / "other", trial="00-seed9")


def test_fingerprints_of_before_pixels_were_checked_are_of_the_same_images():
    """Unless copies are left out now: then other images are trained on."""
    old = {"data": "ShanghaiTech Part A", "train_images": 300, "annotations_sha256": "a"}
    new = {**old, "pixels_sha256": "p", "notes": ["odd"], "warnings": []}
    assert same_data([new], [old])
    assert same_data([{**new, "notes": []}], [new])
    assert not same_data([{**new, "copies_left_out": 1}], [old])
    assert not same_data([{**new, "pixels_sha256": "q"}], [new])
    assert not same_data([{**new, "annotations_sha256": "b"}], [old])
    assert not same_data([new, new], [old])


@pytest.mark.parametrize(
    ("theirs", "ours", "alike"),
    [
        ("cifar10", "CIFAR-10", True),
        ("CIFAR-10 (parquet)", "CIFAR-10", True),
        ("CIFAR-100", "CIFAR-10", False),
        ("images of 犬", "images of 猫", False),
        ("synthetic CIFAR-10 look-alike", "CIFAR-10", False),
    ],
)
def test_names_of_data_are_compared_as_a_person_would(theirs, ours, alike):
    seen = {"data": [{"data": theirs}], "split_seed": 7, "val_fraction": 0.5}
    found = {"data": ours, "train_images": 1, "test_images": 1}
    assert bool(_may_have_seen(seen, (1, 0.1), [found])) is alike
