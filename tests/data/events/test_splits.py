import dataclasses
import shutil
from collections import Counter

import made_up_sets as made_up
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sresnet.data import EventConfig, open_data
from sresnet.data.events.cache import prepare
from sresnet.data.events.describe import find_recordings
from sresnet.data.events.frames import FrameConfig
from sresnet.data.events.splits import Listed, _last_windows, divide
from sresnet.data.events.windows import WindowConfig
from sresnet.errors import UserError


def listed(per_class=1000, classes=("airplane", "cat")):
    """In an order that is neither that of names nor that of numbers."""
    return [
        Listed(name=f"{name}/cifar10_{name}_{index}.aedat", class_name=name, group="")
        for index in reversed(range(per_class))
        for name in classes
    ]


def numbers(recordings, indices, class_name):
    members = [recordings[index] for index in indices if recordings[index].class_name == class_name]
    return sorted(int(each.name.rpartition("_")[2].removesuffix(".aedat")) for each in members)


def test_first900_by_name_is_the_order_of_a_listing():
    """Of 1,000 names _0, _1, _10, _100, ... the first 900 in the order of strings."""
    recordings = listed()
    train, test = divide(EventConfig(split="first900-by-name"), recordings)
    expected = sorted(range(1000), key=str)
    for name in ("airplane", "cat"):
        assert numbers(recordings, train, name) == sorted(expected[:900])
        assert numbers(recordings, test, name) == sorted(expected[900:])
    # What makes it another split than by number: it tests on 91 and 910 to 999, among others.
    assert 99 in numbers(recordings, test, "cat")
    assert 900 in numbers(recordings, train, "cat")


def test_first900_by_number():
    recordings = listed()
    train, test = divide(EventConfig(split="first900-by-number"), recordings)
    assert numbers(recordings, train, "airplane") == list(range(900))
    assert numbers(recordings, test, "cat") == list(range(900, 1000))


def test_last900_by_number_tests_on_the_first():
    recordings = listed()
    train, test = divide(EventConfig(split="last900-by-number"), recordings)
    assert numbers(recordings, train, "airplane") == list(range(100, 1000))
    assert numbers(recordings, test, "cat") == list(range(100))


def test_random90_is_drawn_by_its_seed():
    recordings = listed(100)
    first = divide(EventConfig(split="random90"), recordings)
    assert first == divide(EventConfig(split="random90"), recordings)
    other = divide(EventConfig(split="random90", split_seed=1), recordings)
    assert first != other
    for train, test in (first, other):
        assert len(numbers(recordings, test, "cat")) == len(numbers(recordings, test, "airplane")) == 10
        assert sorted(train + test) == list(range(200))


@given(
    counts=st.lists(st.integers(10, 60), min_size=1, max_size=4),
    split=st.sampled_from(["first900-by-name", "first900-by-number", "random90"]),
)
def test_every_recording_is_on_one_side(counts, split):
    recordings = [
        Listed(name=f"{label}/{index}.aedat", class_name=str(label), group="")
        for label, count in enumerate(counts)
        for index in range(count)
    ]
    train, test = divide(EventConfig(split=split), recordings)
    assert sorted(train + test) == list(range(len(recordings)))
    held_out = Counter(recordings[index].class_name for index in test)
    for label, count in enumerate(counts):
        assert abs(held_out[str(label)] - count / 10) <= 1


def test_groups():
    recordings = [Listed(name=f"{g}/{c}", class_name=c, group=g) for g in ("a", "b", "c") for c in ("cup", "pen")]
    config = EventConfig(name="event-folder", split="by-group", test_group="b")
    assert divide(config, recordings) == ([0, 1, 4, 5], [2, 3])
    with pytest.raises(UserError, match="test_group 'd' is not there: add --data.test-group NAME, one of a, b, c"):
        divide(dataclasses.replace(config, test_group="d"), recordings)
    with pytest.raises(UserError, match="the group to test on is missing: add --data.test-group NAME, one of a, b, c"):
        divide(dataclasses.replace(config, test_group=""), recordings)
    with pytest.raises(UserError, match="'b' is the only group"):
        divide(config, recordings[2:4])


def test_the_same_bytes_on_both_sides_are_an_error():
    recordings = listed(10)
    recordings[0] = dataclasses.replace(recordings[0], content="1234")  # number 9: tested on
    recordings[-2] = dataclasses.replace(recordings[-2], content="1234")  # number 0: trained on
    with pytest.raises(UserError, match="airplane_9.aedat, to be tested on, has the same bytes as .*airplane_0.aedat"):
        divide(EventConfig(split="first900-by-number"), recordings)
    recordings[0], recordings[2] = listed(10)[0], dataclasses.replace(recordings[2], content="1234")
    divide(EventConfig(split="first900-by-number"), recordings)  # twice on one side is not a leak


def test_too_few_to_test_on():
    for split in ("first900-by-name", "random90"):
        with pytest.raises(UserError, match="class 'airplane' has 4 recordings, too few to test on a tenth"):
            divide(EventConfig(split=split), listed(4))


def opened(tmp_path, config, **options):
    return open_data(config, str(tmp_path / "data"), seed=0, num_steps=2, cache_dir=str(tmp_path / "cache"), **options)


def test_validation_is_a_part_of_the_training_recordings(tmp_path):
    made_up.dvs_cifar10(tmp_path / "data", per_class=20)
    splits = opened(tmp_path, EventConfig(validation=0.5))
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [90, 90, 20]
    clips = torch.cat([splits.train.numbers, splits.validation.numbers, splits.test.numbers])
    assert clips.sort().values.tolist() == list(range(200))
    assert splits.validation.labels.bincount().tolist() == [9] * 10
    assert splits.about["name"] == "first900-by-name"
    assert not splits.about["simulated"]
    with pytest.raises(
        UserError, match="holds out none of 180 training recordings, as no class has enough: choose a larger"
    ):
        opened(tmp_path, EventConfig(validation=0.01))


def test_windows_of_a_recording_stay_on_one_side(tmp_path):
    for index in range(10):
        for name, seed in (("cup", 0), ("pen", 100)):
            content = made_up.aedat2(count=400, seed=seed + index, duration=1_000_000)
            made_up.put(tmp_path / "data" / name / f"{index}.aedat", content)
    config = EventConfig(name="event-folder", split="random90", windows=WindowConfig(seconds=0.2), validation=0.3)
    splits = opened(tmp_path, config)
    sides = [set((part.numbers // 4).tolist()) for part in (splits.train, splits.validation, splits.test)]
    # 1 s less the time before the first and behind the last event: four whole windows of each.
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [48, 24, 8]
    assert [len(side) for side in sides] == [12, 6, 2]
    assert not sides[0] & sides[1]
    assert not sides[0] & sides[2]
    assert splits.about["recordings"] == {"train": 12, "validation": 6, "test": 2}


def test_test_recordings_of_other_classes_are_left_out_and_named(tmp_path):
    for seed, name in enumerate(("a/cup", "a/pen", "a/box", "b/cup", "b/pen", "b/cube", "b/cup_1")):
        made_up.put(tmp_path / "data" / f"{name}.aedat", made_up.aedat2(seed=seed))
    splits = opened(tmp_path, EventConfig(name="event-folder", split="by-group", test_group="b"))
    assert splits.train.class_names == ("box", "cup", "pen")
    assert splits.train.labels.tolist() == [0, 1, 2]
    assert sorted(splits.test.labels.tolist()) == [1, 1, 2]
    assert splits.about["classes_left_out"] == {"cube": 1}
    assert splits.about["test_group"] == "b"


def official(tmp_path, *names, first_seed=0):
    for seed, name in enumerate(names, first_seed):
        made_up.put(tmp_path / "data" / f"{name}.aedat", made_up.aedat2(seed=seed))
    return EventConfig(name="event-folder", split="official")


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_recordings_to_validate_on_beside_train_and_test(tmp_path, name):
    config = official(tmp_path, *(f"train/{kind}/{n}" for kind in ("cup", "pen") for n in range(6)), "test/pen/0")
    assert opened(tmp_path, config).validation is None
    official(tmp_path, *(f"{name}/{kind}/{n}" for n in range(20, 22) for kind in ("ant", "pen")))
    splits = opened(tmp_path, config)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [12, 2, 1]
    assert splits.validation.labels.tolist() == [1, 1]
    assert splits.about["recordings"] == {"train": 12, "validation": 2, "test": 1}
    assert splits.notes == (
        "left out: recordings to validate on of classes that are not trained on, ant",
        f"recordings to validate on with the bytes of others (2), such as {name}/pen/20.aedat",
    )
    part = opened(tmp_path, dataclasses.replace(config, validation=0.5))
    assert [len(part) for part in (part.train, part.validation, part.test)] == [6, 6, 1]
    assert "left out: recordings to validate on, as --data.validation holds some of the others out" in part.notes
    shutil.rmtree(tmp_path / "data" / "test")
    shutil.rmtree(tmp_path / "data" / name)
    official(tmp_path, f"{name}/pen/30", first_seed=100)
    assert len(opened(tmp_path, config).test) == 1


def test_files_beside_recordings_are_said_to_be_left_out(tmp_path):
    config = official(tmp_path, *(f"{part}/{kind}/0" for part in ("train", "test") for kind in ("cup", "pen")))
    assert opened(tmp_path, config).notes == ()
    for name in ("train/cup/a.avi", "train/cup/in/b.avi", "test/notes.txt", "train/.hidden.avi"):
        (tmp_path / "data" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "data" / name).touch()
    (tmp_path / "data" / "test" / "pen" / "gone.aedat").symlink_to("nowhere")
    made_up.put(tmp_path / "data" / "more" / "cup" / "0.aedat", made_up.aedat2())
    assert opened(tmp_path, config).notes == (
        "left out: more/ beside train/, test/",
        "left out: files whose endings are not those of recordings, .avi 2, .txt 1 (3), such as train/cup/a.avi",
        "left out: links that lead to no file (1), such as test/pen/gone.aedat",
    )


def test_linked_folders_of_recordings_are_read_too(tmp_path):
    config = official(tmp_path, *(f"{part}/{kind}/0" for part in ("train", "test") for kind in ("cup", "pen")))
    made_up.put(tmp_path / "elsewhere" / "deep" / "1.aedat", made_up.aedat2(seed=50))
    (tmp_path / "data" / "train" / "cup" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "train" / "cup" / "up").symlink_to("..")
    (tmp_path / "elsewhere" / "round").symlink_to(tmp_path / "data")
    splits = opened(tmp_path, config)
    assert splits.train.labels.tolist() == [0, 0, 1]
    found = [path.name for _, path in find_recordings(tmp_path / "data" / "train")[0]]
    assert sorted(found) == ["0.aedat", "0.aedat", "1.aedat"]


def test_skipped_recordings_do_not_move_the_split(tmp_path):
    made_up.dvs_cifar10(tmp_path / "data", per_class=20)
    whole = opened(tmp_path, EventConfig())
    broken = tmp_path / "data" / "cat" / "cifar10_cat_0.aedat"
    broken.write_bytes(broken.read_bytes()[:-3])
    with pytest.raises(UserError, match="cat_0.aedat"):
        opened(tmp_path, EventConfig())
    broken.write_bytes(b"no recording")
    splits = opened(tmp_path, EventConfig(damaged="skip"))
    assert (len(whole.train), len(splits.train), len(splits.test)) == (180, 179, 20)
    assert splits.about["skipped_recordings"] == 1
    assert splits.about["recordings"] == {"train": 179, "validation": 0, "test": 20}
    assert torch.equal(splits.test.batch(torch.arange(20)), whole.test.batch(torch.arange(20)))


@pytest.mark.parametrize("stride", [1.0, 0.5, 2.0])
def test_the_last_windows_of_each_recording_are_held_out_a_window_apart(tmp_path, stride):
    """Whose first events are a window's length or more after the last ones that are trained on."""
    for name in ("a/1.aedat", "a/2.aedat", "b/1.aedat", "b/2.aedat"):
        made_up.put(tmp_path / "data" / name, made_up.aedat2(400, seed=len(name) + ord(name[0]) + ord(name[2])))
    windows = WindowConfig(seconds=0.005, stride=stride)
    config = EventConfig(
        name="event-folder", split="official", windows=windows, validation=1 / 3, held_out="last",
        frames=FrameConfig(size=4),
    )  # fmt: skip
    shutil.copytree(tmp_path / "data", tmp_path / "set" / "train")
    made_up.put(tmp_path / "set/test/a/9.aedat", made_up.aedat2(400, seed=9))
    made_up.put(tmp_path / "set/test/b/9.aedat", made_up.aedat2(400, seed=10))
    splits = open_data(config, str(tmp_path / "set"), seed=0, num_steps=1, cache_dir=str(tmp_path / "cache"))
    assert splits.about["held_out"] == "last"
    found = prepare(config, str(tmp_path / "set"), 1, cache_dir=str(tmp_path / "cache"))
    starts = np.cumsum([0, *(each["clips"] for each in found.recordings)])
    gap = {1.0: 1, 0.5: 3, 2.0: 0}[stride]
    train, held = splits.train.numbers.tolist(), splits.validation.numbers.tolist()
    expected, last = [], []
    for entry, first, end in zip(found.recordings, starts[:-1], starts[1:], strict=True):
        if entry["group"] == "train":
            count = max(1, round((end - first) / 3))
            last += range(end - count, end)
            expected += range(first, end - count - gap)
    assert (train, held) == (expected, last)
    names = [splits.train.class_names[label] for label in splits.validation.labels.tolist()]
    assert names == sorted(names)
    assert set(names) == {"a", "b"}
    assert any(f"left out: {4 * gap} windows between" in note for note in splits.notes)


def test_last_windows_need_windows_and_enough_of_them(tmp_path):
    with pytest.raises(UserError, match="held_out 'last' holds the last windows"):
        EventConfig(name="event-folder", split="official", held_out="last", validation=0.3)
    with pytest.raises(UserError, match="held_out 'last' holds the last windows"):
        EventConfig(name="event-folder", split="official", held_out="last", windows=WindowConfig(seconds=1.0))
    with pytest.raises(UserError, match="a.aedat has 2 windows, too few"):
        _last_windows(
            EventConfig(
                name="event-folder", split="official", held_out="last", validation=0.3, windows=WindowConfig(events=9)
            ),
            "a.aedat",
            2,
        )
