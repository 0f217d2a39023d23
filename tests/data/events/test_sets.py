import zipfile
from dataclasses import replace
from pathlib import Path

import made_up_sets as made_up
import numpy as np
import pytest
import torch

from sresnet.data import DATA_SETS, EventConfig, ImageSet
from sresnet.data.events import sets
from sresnet.data.events.cache import prepare
from sresnet.data.events.frames import FrameConfig
from sresnet.data.events.sets import CIFAR10_CLASSES, EVENT_SETS, USUAL, list_recordings
from sresnet.data.events.simulate import simulate
from sresnet.errors import UserError

SHARED = Path(__file__).parents[3].parent / "shared" / "data"


def names(listing):
    return [source.name for source in listing.sources]


def test_folders_and_zip_files_of_dvs_cifar10_hold_the_same(tmp_path):
    made_up.dvs_cifar10(tmp_path / "folders", per_class=2)
    made_up.zipped(tmp_path / "folders", tmp_path / "zips")
    folders = list_recordings(EventConfig(), str(tmp_path / "folders"))
    zips = list_recordings(EventConfig(), str(tmp_path / "zips"))
    assert folders.class_names == zips.class_names == CIFAR10_CLASSES
    assert names(folders)[:2] == ["airplane/cifar10_airplane_0.aedat", "airplane/cifar10_airplane_1.aedat"]
    assert names(zips)[0] == "airplane.zip/airplane/cifar10_airplane_0.aedat"
    for one, other in zip(folders.sources, zips.sources, strict=True):
        assert one.class_name == other.class_name
        (found, digest), (found_again, same) = folders.read(one), zips.read(other)
        recording, again = found.whole(), found_again.whole()
        assert np.array_equal(recording.t, again.t)
        assert np.array_equal(recording.x, again.x)
        assert digest == same


@pytest.mark.parametrize("place", ["extract", "download", "CIFAR10DVS"])
def test_dvs_cifar10_where_other_libraries_put_it(tmp_path, place):
    made_up.dvs_cifar10(tmp_path / place, per_class=1)
    assert names(list_recordings(EventConfig(), str(tmp_path)))[0] == f"{place}/airplane/cifar10_airplane_0.aedat"


NMNIST = EventConfig(name="nmnist", split="official")


def test_official_nmnist_zipped_and_not(tmp_path):
    made_up.official_nmnist(tmp_path / "folders")
    made_up.zipped(tmp_path / "folders", tmp_path / "zips")
    folders = list_recordings(NMNIST, str(tmp_path / "folders"))
    zips = list_recordings(NMNIST, str(tmp_path / "zips"))
    for listing in (folders, zips):
        assert [source.class_name for source in listing.sources] == [
            str(digit) for digit in range(10) for _ in "12"
        ] * 2
        assert [source.group for source in listing.sources] == ["train"] * 20 + ["test"] * 20
    assert np.array_equal(folders.read(folders.sources[7])[0].whole().t, zips.read(zips.sources[7])[0].whole().t)


@pytest.mark.parametrize("below", ["", "NMNISTsmall"])
def test_small_nmnist(tmp_path, below):
    made_up.small_nmnist(tmp_path / below)
    sources = list_recordings(NMNIST, str(tmp_path)).sources
    assert [source.class_name for source in sources[:3]] == ["1", "2", "3"]
    assert [source.group for source in sources] == ["train"] * 20 + ["test"] * 10
    assert sources[-1].name.endswith("60010.bs2")


def folder(**fields):
    return EventConfig(**({"name": "event-folder", "split": "random90"} | fields))


def test_a_folder_per_class(tmp_path):
    for name in ("cup/b.aedat", "cup/a.aedat", "pen/inside/c.bin", "pen/readme.txt", ".hidden/x.aedat", "cup/.d.aedat"):
        made_up.put(tmp_path / name, b"")
    sources = list_recordings(folder(), str(tmp_path)).sources
    assert [(source.class_name, source.name) for source in sources] == [
        ("cup", "cup/a.aedat"),
        ("cup", "cup/b.aedat"),
        ("pen", "pen/inside/c.bin"),
    ]


def test_groups_with_files_and_with_folders(tmp_path):
    for name in ("one/cup.aedat", "one/pen.aedat", "two/cup.aedat", "two/cup_1.aedat", "three/pen/x.aedat"):
        made_up.put(tmp_path / name, b"")
    sources = list_recordings(folder(split="by-group"), str(tmp_path)).sources
    assert {(source.group, source.class_name, source.name) for source in sources} == {
        ("one", "cup", "one/cup.aedat"),
        ("one", "pen", "one/pen.aedat"),
        ("two", "cup", "two/cup.aedat"),
        ("two", "cup", "two/cup_1.aedat"),
        ("three", "pen", "three/pen/x.aedat"),
    }


def test_train_and_test_folders(tmp_path):
    for name in ("train/cup/a.aedat", "train/pen/a.aedat", "test/cup/b.aedat", "test/pen/b.aedat"):
        made_up.put(tmp_path / name, b"")
    sources = list_recordings(folder(split="official"), str(tmp_path)).sources
    assert [source.group for source in sources] == ["train", "train", "test", "test"]


def test_simulated_digits_are_the_digits_with_their_split():
    pytest.importorskip("sklearn")
    from sresnet.data.digits import load_digits

    listing = list_recordings(USUAL["digits-dvs"], "")
    train, test = load_digits()
    assert [source.group for source in listing.sources] == ["train"] * len(train) + ["test"] * len(test)
    assert [int(source.class_name) for source in listing.sources] == [*train.labels.tolist(), *test.labels.tolist()]
    first, again = (listing.read(listing.sources[3]) for _ in range(2))
    assert np.array_equal(first[0].whole().t, again[0].whole().t)
    assert (first[0].width, first[1]) == (16, "")


def test_simulated_cifar10(monkeypatch):
    def part(count, seed):
        images = torch.randint(0, 256, (count, 3, 32, 32), generator=torch.Generator().manual_seed(seed))
        return ImageSet(images=images.to(torch.uint8), labels=torch.arange(count) % 10, class_names=CIFAR10_CLASSES)

    monkeypatch.setattr(sets, "load_cifar", lambda name, data_dir: (part(20, 0), part(4, 1)))
    listing = list_recordings(USUAL["cifar10-dvs-sim"], "somewhere")
    assert [source.group for source in listing.sources] == ["train"] * 20 + ["test"] * 4
    assert [source.class_name for source in listing.sources[-4:]] == ["airplane", "automobile", "bird", "cat"]
    recording = listing.read(listing.sources[21])[0].whole()
    assert recording.width == 32
    expected = simulate(part(4, 1).images[1].numpy(), USUAL["cifar10-dvs-sim"].simulation, 21)
    assert np.array_equal(recording.t, expected.t)


def test_an_image_before_which_the_camera_sees_nothing_is_left_out_and_counted(monkeypatch, tmp_path):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (10, 3, 32, 32), generator=generator).to(torch.uint8)
    images[3] = 120
    grey = ImageSet(images=images, labels=torch.arange(10), class_names=CIFAR10_CLASSES)
    monkeypatch.setattr(sets, "load_cifar", lambda name, data_dir: (grey, grey))
    usual = replace(USUAL["cifar10-dvs-sim"], frames=FrameConfig(size=16))
    prepared = prepare(usual, "somewhere", 2, cache_dir=str(tmp_path))
    assert prepared.file.count == 18
    assert [entry["name"] for entry in prepared.recordings if "skipped" in entry] == ["image 3", "image 13"]
    with pytest.raises(UserError, match="image 3 has too little contrast, the simulated camera sees no events"):
        prepare(replace(usual, damaged="error"), "somewhere", 2, cache_dir=str(tmp_path))


def write(path):
    made_up.put(path, b"")


def broken_zip(root):
    made_up.zipped(made_up.dvs_cifar10(root / "folders", per_class=1), root)
    (root / "cat.zip").write_bytes((root / "cat.zip").read_bytes()[:50])


def empty_zip(root):
    made_up.zipped(made_up.dvs_cifar10(root / "folders", per_class=1), root)
    zipfile.ZipFile(root / "dog.zip", "w").close()


def empty_class(root):
    made_up.dvs_cifar10(root, per_class=1)
    (root / "frog" / "cifar10_frog_0.aedat").rename(root / "frog" / "cifar10_frog_0.txt")


def missing_class(root):
    made_up.dvs_cifar10(root, per_class=1)
    (root / "frog").rename(root / "toad")


def bad_list(root):
    made_up.small_nmnist(root)
    (root / "test100.txt").write_text("60001 ten\n")


def missing_record(root):
    made_up.small_nmnist(root)
    (root / "60003.bs2").unlink()


def beside(root):
    write(root / "cup" / "a.aedat")
    write(root / "b.aedat")


def empty_group(root):
    write(root / "one" / "cup.aedat")
    (root / "two").mkdir()


@pytest.mark.parametrize(
    ("make", "config", "words"),
    [
        (lambda root: None, EventConfig(), "neither class folders nor zip files of DVS-CIFAR10, such as airplane/"),
        (lambda root: None, NMNIST, "neither Train/ nor Train.zip, nor the small set's train1K.txt"),
        (lambda root: None, folder(), "has no recordings .*: add some or remove the folder"),
        (broken_zip, EventConfig(), "cat.zip is not a complete zip file"),
        (empty_zip, EventConfig(), "dog.zip has no recordings"),
        (empty_class, EventConfig(), "class folder .*frog has no recordings"),
        (missing_class, EventConfig(), "no recordings of dvs-cifar10's class 'frog'"),
        (bad_list, NMNIST, "test100.txt, line 1, is '60001 ten': expected a number and a class"),
        (missing_record, NMNIST, "60003.bs2 is missing, though line 4 of .*test100.txt names it"),
        (beside, folder(), "b.aedat lies beside class folders such as cup/"),
        (empty_group, folder(split="by-group"), "two has no recordings"),
        (lambda root: write(root / "one" / "cup.aedat"), folder(split="by-group"), "has 1 folders: split 'by-group'"),
        (lambda root: write(root / "cup" / "a.aedat"), folder(), "recordings of 1 class"),
        (lambda root: write(root / "train" / "cup" / "a.aedat"), folder(split="official"), "has no test/"),
    ],
)
def test_what_is_wrong_with_a_folder(tmp_path, make, config, words):
    make(tmp_path)
    with pytest.raises(UserError, match=words):
        list_recordings(config, str(tmp_path))


def test_without_a_folder():
    with pytest.raises(UserError, match="nmnist is read from your own folder: add --data-dir DIR"):
        list_recordings(NMNIST, "")
    with pytest.raises(UserError, match="nowhere does not exist: give the folder that holds nmnist"):
        list_recordings(NMNIST, "nowhere")
    with pytest.raises(UserError, match="is a file"):
        list_recordings(NMNIST, __file__)
    with pytest.raises(UserError, match="made of CIFAR-10: add --data-dir"):
        list_recordings(USUAL["cifar10-dvs-sim"], "")


def test_a_member_whose_bytes_are_damaged(tmp_path):
    made_up.zipped(made_up.dvs_cifar10(tmp_path / "folders", per_class=1), tmp_path / "zips")
    path = tmp_path / "zips" / "airplane.zip"
    content = bytearray(path.read_bytes())
    content[100] ^= 255
    path.write_bytes(content)
    listing = list_recordings(EventConfig(), str(tmp_path / "zips"))
    with pytest.raises(UserError, match="airplane.zip/airplane/cifar10_airplane_0.aedat cannot be read"):
        listing.read(listing.sources[0])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"split": "official"}, "split 'official' is not one of dvs-cifar10's: choose from first900-by-name"),
        ({"split": "random"}, "split is 'random'"),
        ({"validation": 1.0}, "validation 1.0"),
        ({"cutout": 1.5}, "cutout 1.5"),
        ({"shift": -1}, "shift -1"),
        ({"test_group": "b"}, "test_group 'b' means nothing to split 'first900-by-name'"),
    ],
)
def test_values_out_of_range(fields, words):
    with pytest.raises(UserError, match=words):
        EventConfig(**fields)


def test_every_set_has_a_line_and_a_usual_configuration():
    assert set(USUAL) == set(EVENT_SETS) <= set(DATA_SETS)
    for name, config in USUAL.items():
        assert (config.name, config.split) == (name, EVENT_SETS[name][1][0])


@pytest.mark.skipif(
    not (SHARED / "events" / "nmnist-small").is_dir(), reason="the real N-MNIST recordings are not here"
)
def test_real_recordings_are_found(tmp_path):
    import subprocess
    import sys

    subprocess.run([sys.executable, SHARED / "unpack.py", tmp_path, "nmnist"], check=True, capture_output=True)
    (place,) = {path.parent for path in tmp_path.rglob("train1K.txt")}
    listing = list_recordings(NMNIST, str(place))
    groups = [source.group for source in listing.sources]
    assert (groups.count("train"), groups.count("test")) == (1000, 100)
