"""What fits the nodes beside the jobs that are out."""

from __future__ import annotations

import math
import random

import pytest

from search.run.room import Held, room


@pytest.mark.parametrize(
    ("node", "cpus", "gpus", "jobs"),
    [
        ({"CPU": 8}, 1, 0, 8),
        ({"CPU": 8}, 3, 0, 2),
        ({"CPU": 1}, 0.1, 0, 10),
        ({"CPU": 64, "GPU": 1}, 1, 0.1, 10),
        ({"CPU": 64, "GPU": 8}, 1, 0.15, 48),  # six on each, not 53 on all
        ({"CPU": 4, "GPU": 8}, 1, 0.5, 4),
        ({"CPU": 64, "GPU": 5}, 1, 2, 2),
        ({"CPU": 64}, 1, 1, 0),
    ],
)
def test_jobs_that_fit_a_node_are_counted_by_whole_gpus(node, cpus, gpus, jobs):
    assert room({"a": node})([])(cpus, gpus) == jobs
    assert room({"a": node, "b": node})([])(cpus, gpus) == 2 * jobs


ONE = {"a": {"CPU": 8.0, "GPU": 1.0}}
TWO = {"a": {"CPU": 8.0, "GPU": 1.0}, "b": {"CPU": 8.0, "GPU": 1.0}}


@pytest.mark.parametrize(
    ("nodes", "out", "shape", "jobs"),
    [
        (ONE, [Held(1, 0.25)], (1, 0.25), 3),  # one member of a cell whose arrays are of four
        (ONE, [Held(1, 0.25)], (1, 1.0), 0),
        (ONE, [Held(1, 0.75)], (1, 0.5), 0),
        (ONE, [Held(1, 1.0)], (1, 0.25), 0),
        (ONE, [Held(7, 0.25)], (1, 0.25), 1),  # cores are short
        (ONE, [Held(1, 0.0)] * 8, (1, 0.0), 0),
        (ONE, [Held(1, 0.25), Held(1, 1.0)], (1, 0.25), 0),  # the large one, which waits, first
        (TWO, [Held(1, 0.5), Held(1, 0.5)], (1, 1.0), 1),  # side by side, as far as is known
        (TWO, [Held(1, 0.5, "a"), Held(1, 0.5, "b")], (1, 1.0), 0),
        (TWO, [Held(1, 0.5, "a"), Held(1, 0.5, "b")], (1, 0.5), 2),
        (TWO, [Held(1, 1.0, "a"), Held(1, 1.0)], (1, 0.25), 0),
        (TWO, [Held(1, 1.0, "gone")], (1, 1.0), 2),  # of a node that takes no more jobs
        ({"a": {"CPU": 8.0, "GPU": 4.0}}, [Held(1, 2.0), Held(1, 0.5)], (1, 1.0), 1),
        ({"a": {"CPU": 8.0, "GPU": 4.0}}, [Held(1, 0.5)], (1, 2.0), 1),
    ],
)
def test_what_is_left_is_counted_by_what_is_out(nodes, out, shape, jobs):
    assert room(nodes)(out)(*shape) == jobs


SHAPES = [(1.0, 0.0), (2.0, 0.0), (1.0, 0.25), (3.0, 0.4), (1.0, 1.0), (1.0, 2.0)]


@pytest.mark.parametrize("several", [False, True], ids=["one shape", "several"])
def test_jobs_are_counted_by_kinds_as_they_are_one_by_one(several):
    draw = random.Random(0)
    for _ in range(300):
        sizes = {key: (draw.randint(0, 12), draw.randint(0, 4)) for key in "abc"}
        nodes = {key: {"CPU": float(c), "GPU": float(g)} for key, (c, g) in sizes.items()}
        shape = draw.choice(SHAPES)
        out: list[Held] = []
        for _ in range(draw.randint(0, 20)):  # each where there was a place, told or not
            shape = draw.choice(SHAPES) if several else shape
            free = [
                key
                for key in nodes
                if one_by_one({key: nodes[key]}, [h for h in out if h.node == key], shape)
            ]
            if not free:
                break
            out.append(Held(*shape, draw.choice(free)))
        out += [Held(*shape, "gone")] * draw.randint(0, 2)
        told = [
            held._replace(node="") if draw.random() < 0.3 else held
            for held in out
            if held.node != "gone"
        ]
        for held in (out, told):
            assert room(nodes)(held)(*shape) == one_by_one(nodes, held, shape)


def one_by_one(nodes, out, shape):
    """As Ray takes jobs: each from the fullest GPU of its node that has its share."""
    cpus = {key: node["CPU"] for key, node in nodes.items()}
    gpus = {key: [1.0] * int(node["GPU"]) for key, node in nodes.items()}
    for held in sorted(out, key=lambda held: (not held.node, -held.gpus, -held.cpus)):
        free = [key for key in nodes if places(cpus[key], gpus[key], held[:2])]
        at = held.node or next(iter(free), "")
        if at not in nodes:
            continue
        cpus[at] -= held.cpus
        for _ in range(math.ceil(held.gpus)):
            part = min(held.gpus, 1.0)
            having = [n for n, left in enumerate(gpus[at]) if left >= part - 1e-9]
            gpus[at][min(having, key=gpus[at].__getitem__)] -= part
    return sum(places(cpus[key], gpus[key], shape) for key in nodes)


def places(cpus, gpus, shape):
    each, share = shape
    count = int(cpus / each + 1e-9)
    if share > 1:
        return min(count, sum(left > 1 - 1e-9 for left in gpus) // math.ceil(share))
    return min(count, sum(int(left / share + 1e-9) for left in gpus)) if share else count
