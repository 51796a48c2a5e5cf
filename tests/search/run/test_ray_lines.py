"""What Ray prints of its own, given to the function of it that is replaced."""

import pytest
from ray._private import worker

from search.run import ray_lines


def ray_says(text):
    worker.print_to_stdstream({"lines": [text], "pid": "raylet", "is_err": False}, False)


def test_what_is_kept_has_a_bound_and_what_is_dropped_is_told_once(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_lines, "MOST", 2**20)
    said = []
    with ray_lines.kept(tmp_path, tmp_path.is_dir, said.append):
        for number in range(60):
            ray_says(f"{number} {'x' * 2**16}")
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert set(sizes) == {"ray.log", "ray.log.1"}
    assert max(sizes.values()) < 2**20 + 2**17
    assert (tmp_path / "ray.log").read_text().splitlines()[-1].split()[2] == "59"
    assert said == [
        f"note: what Ray itself says is in {tmp_path / 'ray.log'}",
        "note: Ray has said more than 2 MiB; of that ray.log and ray.log.1 keep the last",
    ]


def test_a_full_log_that_drops_nothing_is_no_news(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_lines, "MOST", 2**10)
    said = []
    with ray_lines.kept(tmp_path, tmp_path.is_dir, said.append):
        for _ in range(2):
            ray_says("x" * 2**10)
    assert len(said) == 1 and (tmp_path / "ray.log.1").is_file()


def test_a_ray_that_has_no_such_function_prints_as_it_does_and_that_is_told(tmp_path, monkeypatch):
    monkeypatch.delattr(worker, "print_to_stdstream")
    said = []
    with ray_lines.kept(tmp_path, tmp_path.is_dir, said.append):
        assert not hasattr(worker, "print_to_stdstream")
    assert not hasattr(worker, "print_to_stdstream")
    (line,) = said
    assert "does not let its own lines be kept in ray.log" in line


def test_a_ray_without_the_module_is_told_too(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_lines, "_MODULE", "ray._private.worker_that_was")
    said = []
    with ray_lines.kept(tmp_path, tmp_path.is_dir, said.append):
        pass
    assert len(said) == 1


def test_afterwards_ray_prints_as_it_did(tmp_path):
    before = worker.print_to_stdstream
    with pytest.raises(KeyError), ray_lines.kept(tmp_path, tmp_path.is_dir, print):
        assert worker.print_to_stdstream is not before
        raise KeyError
    assert worker.print_to_stdstream is before
