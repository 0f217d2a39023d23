"""Several processes give what one gives: losses, weights, running averages."""

import functools
import multiprocessing

import pytest
import torch

from sresnet.processes import ALONE
from tests.train import together


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    """Number of processes -> what they give, a file for each case."""
    return functools.cache(lambda count: computed(count, tmp_path_factory))


def computed(count, tmp_path_factory):
    made = tmp_path_factory.mktemp("together")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.train.together"])
    workers = [
        context.Process(target=together.work, args=(rank, count, str(made / "meeting"), str(made)))
        for rank in range(count)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * count
    return made


@pytest.fixture(scope="module")
def alone():
    """What one process gives, by case."""
    return {}


TOLERANCES = {
    "training": {"rtol": 1e-9, "atol": 1e-9},
    "layer": {"rtol": 1e-4, "atol": 1e-5},
    "layer bfloat16": {"rtol": 0.02, "atol": 0.06},
    "float32": {"rtol": 1e-3, "atol": 1e-4},
    "evaluation": {"rtol": 0, "atol": 0},
}


@pytest.mark.parametrize(("count", "name"), [(count, name) for count in (2, 3) for name in together.cases_for(count)])
def test_several_processes_give_what_one_gives(count, name, folder_of, alone):
    folder = folder_of(count)
    expected = alone[name] if name in alone else alone.setdefault(name, together.CASES[name](ALONE))
    found, *others = torch.load(folder / f"{name}.pt")
    assert "error" not in found, found["error"]
    assert set(found) == set(expected)
    tolerance = TOLERANCES.get(name) or TOLERANCES[name.partition(" ")[0]]
    for key, tensor in found.items():
        assert all(torch.equal(tensor, other[key]) for other in others), key
        torch.testing.assert_close(tensor, expected[key], **tolerance, msg=lambda text, key=key: f"{key}: {text}")
