import itertools
from dataclasses import replace

import numpy as np
import pytest

from sresnet.config import to_dict
from sresnet.data import open_data
from sresnet.data.events.read import read_recording
from sresnet.studies.study import Result
from tests.scripts import script

experiment = script("experiments/simulated_gestures")


@pytest.fixture(autouse=True, scope="module")
def _few_pictures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "PICTURE", 20_000)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three people, a file of each format in either lighting, each gesture once; the last is tested on."""
    folder = tmp_path_factory.mktemp("gestures")
    experiment.make(folder, 5, users=3, tested=1, repeats=1, names=("circle clockwise", "roll to and fro"))
    return folder


def test_the_set_is_made_of_its_seed_and_made_once(made, tmp_path):
    experiment.make(tmp_path, 5, users=3, tested=1, repeats=1, names=("circle clockwise", "roll to and fro"))
    names = sorted(path.name for path in made.iterdir())
    assert names == sorted([experiment.LIST, *(f"user0{n}_{light}.{ending}" for n, light, ending in FILES)])
    for name in names:
        if name.endswith(".npz"):  # NumPy writes the time into it
            one, other = (np.load(folder / name) for folder in (made, tmp_path))
            assert all(np.array_equal(one[key], other[key]) for key in ("t", "x", "y", "p"))
        else:
            assert (made / name).read_bytes() == (tmp_path / name).read_bytes()
    before = (made / experiment.LIST).stat().st_mtime_ns
    experiment.make(made, 6)
    assert (made / experiment.LIST).stat().st_mtime_ns == before


FILES = [
    (number, light, ending)
    for number, ending in ((1, "aedat"), (2, "dat"), (3, "npz"))
    for light in experiment.LIGHTINGS
]


def test_files_of_each_format_hold_the_events(made):
    for number, light, ending in FILES:
        found = read_recording(made / f"user0{number}_{light}.{ending}")
        events, parts = experiment.recording(
            5, number - 1, light, repeats=1, names=("circle clockwise", "roll to and fro")
        )
        assert (found.width, found.height) == (128, 128)
        for name in ("t", "x", "y", "on"):
            assert np.array_equal(getattr(found, name), getattr(events, name)), (number, name)
        # Most of the events lie in the parts, but for noise in pauses.
        inside = sum(((events.t >= part.start) & (events.t < part.stop)).sum() for part in parts)
        assert 0.8 < inside / len(events) < 1


def test_the_list_reads_back_and_test_users_are_not_trained_on(made, tmp_path):
    data = next(iter(experiment.rows().values())).data
    splits = open_data(data, str(made / experiment.LIST), seed=0, num_steps=4, cache_dir=str(tmp_path))
    assert splits.about["name"] == "official"
    assert (len(splits.train), len(splits.test)) == (8, 4)
    assert set(splits.train.class_names) == {"circle clockwise", "roll to and fro"}
    by_group = replace(data, split="by-group", test_group="user01")
    splits = open_data(by_group, str(made / experiment.LIST), seed=0, num_steps=4, cache_dir=str(tmp_path))
    assert (len(splits.train), len(splits.test)) == (8, 4)


def frames(gesture):
    """OFF and ON events of a camera without noise at each pixel in eight steps of time, [8, 2, H, W]."""
    user = replace(experiment.user_of(np.random.default_rng(0)), seconds=1.2)
    pictures, duration = experiment.film(gesture, user, np.random.default_rng(1))
    seen = experiment.simulate_film(pictures, experiment.DVSConfig(threshold=0.4, duration=duration))
    counts = np.zeros((8, 2, 128, 128))
    np.add.at(counts, (8 * seen.t // duration, seen.on.astype(int), seen.y, seen.x), 1)
    return counts


def shared(one, other):
    """The histogram intersection, in parts of the mean number of events."""
    return 2 * np.minimum(one, other).sum() / (one.sum() + other.sum())


def test_classes_are_alike_in_the_sum_over_time_and_differ_in_its_order():
    """From the same place and at the same speed. Nine tenths and not all, as hands that overlap are one to a camera;
    "circle to and fro" begins as "circle clockwise" does, so that half of their steps are the same.
    """
    names = list(experiment.GESTURES)
    clips = dict(zip(names, map(frames, names), strict=True))
    for one, other in itertools.combinations(names, 2):
        assert shared(clips[one].sum(0), clips[other].sum(0)) > 0.9, (one, other)
        assert shared(clips[one], clips[other]) < 0.7, (one, other)


def made_up(recipe, seed):
    split = {"name": "official", "train": 480, "test": 160, "recordings": {"train": 480, "test": 160}}
    return Result(
        key="",
        config=to_dict(replace(recipe, seed=seed)),
        environment={"device": "abacus, 2 cores", "threads": 1, "torch": "2.0"},
        metrics=[],
        result={
            "test_top1": 10.0 * recipe.model.num_steps + seed,
            "split": split,
            "compare": {"nearest_neighbour": 12.5, "largest_class": 10.0},
        },
        by_steps=(70.0,),
    )


def test_table_of_made_up_runs():
    rows = experiment.rows()
    found = {row: [made_up(rows[row], seed) for seed in range(experiment.seeds_of(row))] for row in rows}
    found["the sum over time: 1 step"].pop()
    del found[experiment.MIRRORED]
    lines = experiment.table(found)
    assert "| 8 steps in time | 3 | 81.00 ± 1.00 |" in lines
    assert "| the sum over time, by its nearest neighbour | | 12.50 |" in lines
    assert any("not in this record: the sum over time: 1 step, 1 of 3; 8 steps, half" in line for line in lines)
    assert lines[-1] == "abacus, 2 cores, 1 thread, torch 2.0."


def test_clips_are_mirrored_in_the_row_that_says_so():
    for row, recipe in experiment.rows().items():
        assert recipe.data.flip == ("mirrored" in row)
