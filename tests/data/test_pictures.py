"""Pictures in a cache on disk are those that would be in memory, whatever happens to files, cache and processes."""

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sresnet.data import DataConfig, ImageSet, Samples, cached, open_data, pictures
from sresnet.data.ahead import ReadAhead
from sresnet.data.cached import list_beside
from sresnet.data.cleaning import cached_sets, is_cache, remove
from sresnet.data.fingerprint import fingerprint
from sresnet.data.folder import open_folder
from sresnet.data.pictures import PictureSet
from sresnet.data.scaling import make_scaling
from sresnet.errors import UserError
from sresnet.files import InUseError, one_at_a_time
from sresnet.models import SResNetConfig
from sresnet.train.loop import train
from sresnet.train.recipe import Recipe, TrainConfig

Image = pytest.importorskip("PIL.Image")

CONFIG = DataConfig(name="folder", image_size=8)


def put(path, seed, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)


@pytest.fixture
def data(tmp_path):
    """Two classes, a training and a test set: 16 pictures."""
    for label, kind in enumerate(("cat", "dog")):
        for index in range(8):
            part = "train" if index < 6 else "test"
            put(tmp_path / "data" / part / kind / f"{index}.{'jpg' if index % 2 else 'png'}", 10 * label + index)
    return tmp_path / "data"


@pytest.fixture
def fine_times(monkeypatch):
    """As if nothing had been written a moment before it was looked at."""
    monkeypatch.setattr(cached, "COARSE", -60_000_000_000)


def opened(data, **options):
    return open_folder(data, 8, cache_dir=str(data.parent / "cache"), **options)


def cache_of(data):
    return opened(data).train.file.path


def everything(samples: Samples):
    return samples.batch(torch.arange(len(samples)))


def same(splits, data):
    """Whether the pictures of a cache are those that are read into memory, whatever is asked of them."""
    memory = open_folder(data, 8)
    for part in ("train", "test"):
        ours, theirs = getattr(splits, part), getattr(memory, part)
        assert isinstance(ours, PictureSet)
        assert isinstance(theirs, ImageSet)
        assert torch.equal(everything(ours), theirs.images)
        assert torch.equal(ours.labels, theirs.labels)
        assert torch.equal(ours.counts(), theirs.counts())
    assert fingerprint(splits) == fingerprint(memory)
    assert make_scaling(CONFIG, splits.train).plain() == make_scaling(CONFIG, memory.train).plain()
    assert (splits.about, splits.notes) == (memory.about, memory.notes)
    return True


def test_pictures_are_those_in_memory(data):
    assert same(opened(data), data)
    put(data / "train" / "cat" / "copy.png", 16)  # of a test picture of the other class
    Image.fromarray(np.zeros((8, 8, 4), dtype=np.uint8) + np.array([1, 1, 1, 0], dtype=np.uint8)).save(
        data / "train" / "dog" / "plain.png"
    )
    Image.fromarray(np.pad(np.zeros((8, 4, 4), dtype=np.uint8), ((0, 0), (0, 4), (0, 0)), constant_values=1)).save(
        data / "train" / "dog" / "half.png"
    )
    splits = opened(data)
    assert splits.about["test_images_in_train"] == 1
    assert same(splits, data)


def test_pictures_without_a_test_folder_are_divided_as_in_memory(data):
    for path in (data / "test").rglob("*.*"):
        path.rename(data / "train" / path.parent.name / path.name)
    assert same(opened(data / "train"), data / "train")
    ours = open_data(dataclasses.replace(CONFIG, validation=0.3), str(data / "train"), seed=3, cache_dir=str(data))
    theirs = open_data(dataclasses.replace(CONFIG, validation=0.3), str(data / "train"), seed=3)
    assert isinstance(ours.validation, PictureSet)
    assert fingerprint(ours) == fingerprint(theirs)


def test_a_training_ends_with_the_same_weights_and_resumes_either_way(data, tmp_path):
    recipe = Recipe(
        model=SResNetConfig(depth=8, base_filters=2, num_steps=2, in_channels=3, num_classes=2),
        data=dataclasses.replace(CONFIG, policy="trivial", erase=0.5),
        train=TrainConfig(epochs=2, batch_size=4),
    )

    def trained(name, splits, steps=99):
        asked = iter(range(steps))
        outcome = train(
            recipe,
            splits,
            tmp_path / name,
            device=torch.device("cpu"),
            should_stop=lambda: next(asked, None) is None,
        )
        return outcome.state

    memory, stored = open_folder(data, 8), opened(data)
    assert trained("memory", memory) == trained("stored", stored) == "finished"
    assert trained("first", memory, steps=4) == trained("second", stored, steps=4) == "stopped"
    assert trained("first", stored) == trained("second", memory) == "finished"
    weights = {name: (tmp_path / name / "weights.safetensors").read_bytes() for name in ("memory", "stored", "first")}
    assert len(set(weights.values())) == 1
    assert (tmp_path / "second" / "weights.safetensors").read_bytes() == weights["memory"]
    about = {name: (tmp_path / name / "data.json").read_text() for name in weights}
    assert len(set(about.values())) == 1


def decodes(monkeypatch):
    """Names of the files that are decoded from now on."""
    from sresnet.data import folder

    found = []
    real = folder.read_picture

    def noted(path, *args, **options):
        found.append(path.name)
        return real(path, *args, **options)

    monkeypatch.setattr(folder, "read_picture", noted)
    return found


def test_decoded_once_and_then_not_even_read(data, fine_times, monkeypatch):
    said = []
    first = opened(data, note=said.append)
    assert len(said) == 1
    assert said[0].startswith(f"16 pictures of 8x8 pixels are decoded into {cache_of(data)}: 0.0 MB, ")
    assert said[0].endswith(" are free")
    fingerprint(first)
    before = {path: path.stat().st_mtime_ns for path in cache_of(data).parent.iterdir() if path.suffix != ".lock"}
    found = decodes(monkeypatch)
    monkeypatch.setattr(pictures, "read_regular", lambda path: pytest.fail(f"{path} is read"))
    monkeypatch.setattr(pictures.SampleFile, "read", lambda *arguments: pytest.fail("pictures are read"))
    again = opened(data, note=lambda line: pytest.fail(line), watch=lambda *progress: pytest.fail("nothing to do"))
    assert fingerprint(again) == fingerprint(first)
    assert torch.equal(again.train.counts(), first.train.counts())
    assert found == []
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_only_what_changed_is_decoded_again(data, fine_times, monkeypatch):
    before = opened(data)
    old = everything(before.train)
    found = decodes(monkeypatch)
    cat = data / "train" / "cat"
    put(cat / "2.png", 77)
    put(cat / "new.png", 78)
    (cat / "0.png").unlink()
    os.utime(cat / "4.png", ns=(1, 1))  # the same bytes
    (data / "train" / "dog" / "1.jpg").rename(data / "train" / "dog" / "renamed.jpg")
    after = opened(data)
    assert found == ["2.png", "new.png", "renamed.jpg"]
    found.clear()
    assert same(after, data)
    assert torch.equal(everything(before.train), old)  # a training that goes on meanwhile
    found.clear()
    assert same(opened(data), data)
    assert len(found) == 16  # by the reader into memory


def test_a_change_right_after_it_was_read_is_noticed(data):
    """Of the same size and at the same time, as a coarse clock would have it."""
    path = data / "train" / "cat" / "2.png"
    opened(data)
    status = path.stat()
    content = bytearray(path.read_bytes())
    other = data / "other.bmp"
    put(other, 99)
    path.with_suffix(".bmp").write_bytes(other.read_bytes())
    assert len(opened(data).train) == 13
    put(other, 98)
    path.with_suffix(".bmp").write_bytes(other.read_bytes())
    os.utime(path.with_suffix(".bmp"), ns=(status.st_atime_ns, status.st_mtime_ns))
    other.unlink()
    assert same(opened(data), data)
    assert path.read_bytes() == content


KILLED = """
import os, signal, sys
from sresnet.data import folder
from sresnet.data.folder import open_folder
left = int(sys.argv[3])
real = folder.read_picture
def counted(path, *args, **options):
    global left
    left -= 1
    if left < 0:
        if sys.argv[4] == "torn":
            for name in os.listdir(sys.argv[2]):
                if name.endswith((".pictures", ".list")):
                    open(os.path.join(sys.argv[2], name), "ab").write(b"123 half a line")
        os.kill(os.getpid(), signal.SIGKILL)
    return real(path, *args, **options)
folder.read_picture = counted
open_folder(sys.argv[1], 8, cache_dir=sys.argv[2])
"""


@pytest.mark.parametrize(("after", "how"), [(5, "torn"), (15, "whole")])
def test_a_killed_process_leaves_what_it_has_decoded_to_the_next(data, monkeypatch, after, how):
    command = [sys.executable, "-c", KILLED, str(data), str(data.parent / "cache"), str(after), how]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run(command, env=environment).returncode == -signal.SIGKILL
    found = decodes(monkeypatch)
    splits = opened(data)
    assert len(found) == 16 - after
    assert same(splits, data)


def test_what_a_power_cut_leaves_is_decoded_again(data, fine_times, monkeypatch):
    """The list is on the disk, and some of the pictures are not."""
    path = cache_of(data)
    whole = path.read_bytes()
    path.write_bytes(whole[: 4 * 192] + bytes(3 * 192))
    found = decodes(monkeypatch)
    assert same(opened(data), data)
    assert len(found) == 12 + 16
    assert path.read_bytes()[: 4 * 192] == whole[: 4 * 192]


def flipped(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 16
    path.write_bytes(content)


@pytest.mark.parametrize("ending", [".pictures", ".list"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.99])
def test_a_flipped_bit_is_mended(data, fine_times, ending, share):
    path = cache_of(data).with_suffix(ending)
    flipped(path, int(share * path.stat().st_size))
    assert same(opened(data), data)
    assert same(opened(data), data)


@pytest.mark.parametrize("ending", [".pictures", ".list"])
@pytest.mark.parametrize("length", [None, 0, 100, 1000])
def test_what_is_missing_is_made_again(data, fine_times, ending, length):
    path = cache_of(data).with_suffix(ending)
    if length is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:length])
    put(data / "train" / "cat" / "0.png", 55)  # and its slot is no longer that of the others
    (data / "train" / "cat" / "1.jpg").unlink()
    assert same(opened(data), data)
    assert same(opened(data), data)


def test_a_place_that_was_given_to_another_picture_is_not_taken_for_the_old_one(data, fine_times):
    cache_of(data).unlink()
    first, aside = data / "train" / "cat" / "0.png", data.parent / "aside.png"
    first.rename(aside)
    put(data / "train" / "dog" / "new.png", 60)  # so that there are as many places
    assert same(opened(data), data)
    aside.rename(first)
    assert same(opened(data), data)


def test_damage_while_training_is_a_line(data):
    train_set = opened(data).train
    path = train_set.file.path
    flipped(path, 5 * 192)
    with pytest.raises(UserError, match=r"^picture 5 of .* is damaged: delete it and run the same command again"):
        everything(train_set)
    os.truncate(path, 4 * 192 + 1)
    with pytest.raises(UserError, match=r"was cut short at picture 4: delete it and run the same command again"):
        train_set.batch(torch.tensor([4]))
    path.unlink()
    assert same(opened(data), data)


def test_sizes_do_not_mix(data, fine_times, monkeypatch):
    folder = str(data.parent / "cache")
    small, large = opened(data), open_folder(data, 16, cache_dir=folder)
    assert small.train.file.path != large.train.file.path
    assert torch.equal(everything(large.train), open_folder(data, 16).train.images)
    found = decodes(monkeypatch)
    opened(data)
    assert found == []
    monkeypatch.setattr("PIL.__version__", "1.2.3")  # may decode to other pixels
    assert cache_of(data) != small.train.file.path


def test_a_picture_that_does_not_decode_keeps_the_others(data, monkeypatch):
    bad = data / "train" / "dog" / "2.png"
    content = bad.read_bytes()
    bad.write_bytes(content[:60])
    with pytest.raises(UserError, match=r"2\.png does not decode as an image .*: replace it or remove it"):
        opened(data)
    bad.write_bytes(content)
    found = decodes(monkeypatch)
    assert same(opened(data), data)
    assert len(found) == 8 + 16


def test_no_room_is_said_before_anything_is_written(data, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("", (), {"free": 16 * 192 + 16 * 400 - 1}))
    with pytest.raises(UserError, match=r"has 0\.0 MB free, and 16 pictures of 8x8 pixels take 0\.0 MB: make"):
        opened(data)
    assert cached_sets(data.parent / "cache")[0].files[0].stat().st_size == 0


def test_a_full_disk_keeps_what_is_there(data, monkeypatch):
    real = os.pwrite

    def full(descriptor, content, place):
        if place >= 7 * 192 and len(content) == 192:
            raise OSError(28, "No space left on device")
        return real(descriptor, content, place)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(UserError, match=r"could not be written \(No space left on device\): what it holds already"):
        opened(data)
    monkeypatch.setattr(os, "pwrite", real)
    found = decodes(monkeypatch)
    assert same(opened(data), data)
    assert len(found) == 9 + 16


def test_a_folder_that_cannot_be_written_is_a_line(data):
    with pytest.raises(UserError, match=r"cache folder /proc/no/cache cannot be used .*: choose another --cache-dir"):
        open_folder(data, 8, cache_dir="/proc/no/cache")
    (data.parent / "cache").mkdir()
    path = cache_of(data)
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match=r"could not be written \(Is a directory\)"):
        opened(data)
    path.rmdir()
    path.symlink_to(data / "train" / "cat" / "0.png")
    before = path.read_bytes()
    with pytest.raises(UserError, match="could not be written"):
        opened(data)
    assert path.read_bytes() == before


WAITING = """
import sys, time
from pathlib import Path
from sresnet.data import folder
from sresnet.data.folder import open_folder
real = folder.read_picture
def slow(path, *args, **options):
    print("decoded", flush=True)
    while not Path(sys.argv[3]).exists():
        time.sleep(0.01)
    return real(path, *args, **options)
folder.read_picture = slow
watch = lambda done, total, name: name == "another process" and print(name, flush=True)
splits = open_folder(sys.argv[1], 8, cache_dir=sys.argv[2], watch=watch)
print(splits.train.kept.decoded, flush=True)
"""


def test_of_two_processes_one_decodes(data):
    go = data.parent / "go"
    command = [sys.executable, "-c", WAITING, str(data), str(data.parent / "cache"), str(go)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    start = lambda: subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)  # noqa: E731
    with start() as first:
        assert first.stdout.readline() == "decoded\n"
        with start() as second:
            assert second.stdout.readline() == "another process\n"
            with pytest.raises(InUseError, match="is being filled by another process: wait for it, or end it"):
                remove(*cached_sets(data.parent / "cache"))
            go.touch()
            assert second.communicate()[0] == "0\n"
        assert first.communicate()[0].endswith("16\n")


def test_many_or_large_ones_go_through_a_cache(data, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    place = tmp_path / "home" / "sresnet" / "pictures"
    assert isinstance(open_folder(data, 8).train, ImageSet)
    monkeypatch.setattr(pictures, "_MANY", 17)
    monkeypatch.setattr(pictures, "_MUCH", 16 * 3 * 9**2)
    assert isinstance(open_folder(data, 8).train, ImageSet)
    assert not place.exists()
    assert isinstance(open_folder(data, 9).train, PictureSet)
    monkeypatch.setattr(pictures, "_MANY", 16)
    assert isinstance(open_folder(data, 8).train, PictureSet)
    monkeypatch.setattr(pictures, "_MANY", 17)
    assert isinstance(open_folder(data, 8).train, PictureSet)  # one is there
    assert len(cached_sets(place)) == 2
    assert is_cache(place)


def test_many_that_fit_into_memory_need_no_folder_that_can_be_written(data, monkeypatch, tmp_path):
    monkeypatch.setattr(pictures, "_MANY", 16)
    notes = []
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    assert isinstance(open_folder(data, 8, note=notes.append).train, ImageSet)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    with monkeypatch.context() as patched:
        patched.setattr("shutil.disk_usage", lambda folder: type("", (), {"free": 16 * 192 + 16 * 400}))
        assert isinstance(open_folder(data, 8, note=notes.append).train, ImageSet)
    assert len(notes) == 2
    assert notes[0].startswith(
        "16 pictures are decoded into memory at every start, as /proc/none/sresnet/pictures cannot"
    )
    assert "(0.0 MB are free there): --cache-dir DIR names another place" in notes[1]
    assert isinstance(open_folder(data, 8).train, PictureSet)


def test_a_cache_within_the_pictures_is_refused_before_it_is_made(data):
    for place in (data / "cache", data / "train" / "cat", data):
        with pytest.raises(UserError, match="is within .*, whose folders are classes: choose another one"):
            open_folder(data, 8, cache_dir=str(place))
    assert sorted(each.name for each in data.iterdir()) == ["test", "train"]


@pytest.mark.parametrize("damage", ["torn", "flipped", "removed before its parts were noted"])
def test_a_cache_whose_first_line_is_lost_can_still_be_cleaned(data, damage):
    splits = opened(data)
    path = splits.train.file.path
    list_ = list_beside(path)
    if damage.startswith("removed"):
        remove(cached_sets(path.parent)[0])
        fingerprint(splits)
        assert list(path.parent.iterdir()) == []
    else:
        content = bytearray(list_.read_bytes())
        content[30] ^= 1
        list_.write_bytes(content[:10] if damage == "torn" else content)
        assert cached_sets(path.parent) == []
    assert same(opened(data), data)
    (found,) = cached_sets(path.parent)
    remove(found)
    assert list(path.parent.iterdir()) == []


def test_what_is_not_ours_stays(data, tmp_path):
    path = cache_of(data)
    folder = path.parent
    for name in ("film.pictures", "film.list", "film.frames", "film.json", "notes.txt"):
        (folder / name).write_text("mine")
    (found,) = cached_sets(folder)
    assert found.files == (path, list_beside(path))
    assert found.size == sum(each.stat().st_size for each in found.files)
    assert found.sources == (str(data.resolve()),)
    samples = opened(data).train
    remove(found)
    assert sorted(each.name for each in folder.iterdir()) == sorted(
        ("film.pictures", "film.list", "film.frames", "film.json", "notes.txt")
    )
    assert len(everything(samples)) == 12  # a training that reads it goes on
    assert not is_cache(folder)
    assert same(opened(data), data)


def test_a_lock_that_was_removed_meanwhile_holds_nobody(tmp_path):
    lock = tmp_path / "lock"
    waited = []

    def waiting():
        waited.append(1)
        lock.unlink()
        (other,) = held
        other.close()

    held = [lock.open("w")]
    import fcntl

    fcntl.flock(held[0], fcntl.LOCK_EX)
    with one_at_a_time(lock, waiting):
        assert lock.exists()
        with pytest.raises(InUseError), one_at_a_time(lock, lambda: (_ for _ in ()).throw(InUseError("held"))):
            pass
    assert waited == [1]


@pytest.mark.parametrize("stored", [True, False])
def test_reading_ahead_gives_the_same_batches(data, stored):
    samples = (opened(data) if stored else open_folder(data, 8)).train
    expected, ahead = everything(samples), ReadAhead(samples)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    chunks = order.split(5)
    ahead.announce(order[5:7], chunks[0])
    ahead.announce(*chunks, order[:0], order[2:6])
    assert len(ahead.read) == (5 if stored else 0)  # and not those that are no longer wanted
    for chunk in (order[3:4], *chunks, *chunks):  # unannounced ones too
        assert torch.equal(ahead.batch(chunk), expected[chunk])
    ahead.announce()
    assert ahead.read == {}


def test_damage_that_is_read_ahead_is_told_when_it_is_asked_for(data):
    samples = opened(data).train
    flipped(samples.file.path, 3 * 192)
    ahead = ReadAhead(samples)
    ahead.announce(torch.tensor([2, 3]))
    assert len(ahead.batch(torch.tensor([0, 1]))) == 2
    with pytest.raises(UserError, match="picture 3 of .* is damaged"):
        ahead.batch(torch.tensor([2, 3]))


def test_the_folder_of_a_stranger_is_no_cache(tmp_path):
    assert not is_cache(tmp_path / "none")
    (tmp_path / "a.pictures").write_bytes(b"x")
    Path(tmp_path / "a.list").write_bytes(b"00000000 {}\n" * 1000)
    assert not is_cache(tmp_path)
