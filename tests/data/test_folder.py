import builtins
import contextlib
import dataclasses
import os
import shutil
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sresnet.cli.runs import print_split
from sresnet.data import DataConfig, open_data
from sresnet.data.folder import from_dataset, open_folder, read_picture
from sresnet.data.split import stratified_split
from sresnet.errors import UserError

Image = pytest.importorskip("PIL.Image")


def load_folder(path, image_size):
    splits = open_folder(path, image_size)
    return splits.train, splits.test


def picture(width=8, height=8, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def put(path, image=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    (image or picture()).save(path, **options)


def planes(image):
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


@pytest.fixture
def divided(tmp_path):
    for part, count in (("train", 3), ("test", 2)):
        for label, kind in enumerate(("cat", "dog")):
            for index in range(count):
                put(tmp_path / part / kind / f"{index}.png", picture(seed=100 * label + index + (part == "test") * 50))
    return tmp_path


def test_train_and_test_folders(divided):
    train, test = load_folder(divided, 8)
    assert train.class_names == test.class_names == ("cat", "dog")
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert test.labels.tolist() == [0, 0, 1, 1]
    for index, seed in enumerate([0, 1, 2, 100, 101, 102]):
        assert torch.equal(train.images[index], planes(picture(seed=seed)))
    assert torch.equal(test.images[3], planes(picture(seed=151)))


def test_val_is_read_when_there_is_no_test(divided):
    expected = load_folder(divided, 8)[1]
    (divided / "test").rename(divided / "val")
    assert torch.equal(load_folder(divided, 8)[1].images, expected.images)
    put(divided / "test" / "cat" / "a.png")
    put(divided / "test" / "dog" / "a.png")
    assert len(load_folder(divided, 8)[1]) == 2


def test_class_folders_are_split_the_same_way_every_time(tmp_path):
    for kind, count in (("a", 10), ("b", 5)):
        for index in range(count):
            put(tmp_path / kind / f"{index:02}.png", picture(seed=ord(kind) + index))
    train, test = load_folder(tmp_path, 8)
    assert train.labels.tolist() == [0] * 8 + [1] * 4
    assert test.labels.tolist() == [0] * 2 + [1]
    everything = torch.stack([planes(picture(seed=ord(k) + i)) for k, n in (("a", 10), ("b", 5)) for i in range(n)])
    rest, held_out = stratified_split(torch.tensor([0] * 10 + [1] * 5), 0.2, 0)
    assert torch.equal(train.images, everything[rest])
    assert torch.equal(test.images, everything[held_out])


def test_a_class_may_be_called_train(tmp_path):
    for index in range(3):
        put(tmp_path / "train" / f"{index}.png")
        put(tmp_path / "bus" / f"{index}.png")
    assert load_folder(tmp_path, 8)[0].class_names == ("bus", "train")


def test_order_does_not_depend_on_the_file_system(divided, monkeypatch):

    expected = load_folder(divided, 8)[0]
    real = os.scandir

    @contextlib.contextmanager
    def backwards(path):
        with real(path) as entries:
            yield reversed(list(entries))

    monkeypatch.setattr(os, "scandir", backwards)
    found = load_folder(divided, 8)[0]
    assert torch.equal(found.images, expected.images)
    assert torch.equal(found.labels, expected.labels)


def test_hidden_and_other_files_are_ignored_and_folders_inside_are_read(divided):
    for name in (".hidden.png", ".hidden/a.png", "notes.txt", "Thumbs.db"):
        path = divided / "train" / "cat" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("not an image")
    (divided / "train" / ".cache").mkdir()
    put(divided / "train" / "cat" / "more" / "a.PNG", picture(seed=9))
    train, _ = load_folder(divided, 8)
    assert train.labels.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert torch.equal(train.images[3], planes(picture(seed=9)))


def test_the_middle_square_of_the_scaled_image(divided):
    wide = picture(40, 20)
    put(divided / "train" / "cat" / "0.png", wide)
    put(divided / "train" / "cat" / "1.png", wide.transpose(Image.Transpose.TRANSPOSE))
    train, _ = load_folder(divided, 10)
    expected = planes(wide.resize((20, 10), Image.Resampling.BICUBIC))[:, :, 5:15]
    assert torch.equal(train.images[0], expected)
    # Pillow scales one axis after the other and rounds in between.
    assert (train.images[1].int() - expected.transpose(1, 2).int()).abs().max() <= 2
    # Small images are enlarged.
    assert torch.equal(train.images[2], planes(picture(seed=2).resize((10, 10), Image.Resampling.BICUBIC)))


def test_no_scaling_where_the_shorter_side_fits(divided):
    put(divided / "train" / "cat" / "0.png", picture(13, 8, seed=3))
    assert torch.equal(load_folder(divided, 8)[0].images[0], planes(picture(13, 8, seed=3))[:, :, 2:10])


@pytest.mark.parametrize("size", [1, 3, 7, 31, 32, 33, 224])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 97), (97, 3), (31, 33), (500, 333)])
def test_every_size_fits(size, width, height, tmp_path):
    put(tmp_path / "a.bmp", picture(width, height))
    assert read_picture(tmp_path / "a.bmp", (size, size)).pixels.shape == (3, size, size)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"])
def test_formats(divided, suffix):
    image = picture().convert("L") if suffix == ".pgm" else picture()
    put(divided / "train" / "cat" / f"z{suffix}", image)
    with Image.open(divided / "train" / "cat" / f"z{suffix}") as opened:
        assert torch.equal(load_folder(divided, 8)[0].images[3], planes(opened))


def test_modes(divided):
    grey = np.arange(3, 256, 4, dtype=np.uint8).reshape(8, 8)
    folder = divided / "train" / "cat"
    put(folder / "a.png", Image.fromarray(grey))
    put(folder / "b.png", Image.fromarray(grey.astype(np.uint16) * 256 + 255))  # 16 bits
    put(folder / "c.png", picture().convert("RGBA"))
    put(folder / "d.png", picture().convert("P"), transparency=b"\x00\x10\x20")
    put(folder / "e.png", Image.fromarray(grey > 30))
    train, _ = load_folder(divided, 8)
    by_name = dict(zip([*"012abcde"], train.images, strict=False))
    assert torch.equal(by_name["a"], torch.from_numpy(grey).expand(3, 8, 8))
    assert torch.equal(by_name["b"], by_name["a"])
    assert torch.equal(by_name["c"], planes(picture()))
    assert torch.equal(by_name["d"], planes(picture().convert("P")))
    assert by_name["e"].unique().tolist() == [0, 255]


def test_exif_orientation_is_followed(divided):
    exif = Image.Exif()
    exif[0x0112] = 6
    put(divided / "train" / "cat" / "0.png", picture(seed=4), exif=exif)
    assert torch.equal(load_folder(divided, 8)[0].images[0], planes(picture(seed=4)).rot90(-1, (1, 2)))


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "flipped", "postscript", "float", "another format"])
def test_a_file_that_does_not_decode_is_named(divided, damage):
    path = divided / "train" / "dog" / "1.png"
    content = path.read_bytes()
    if damage == "float":
        put(path.with_suffix(".tif"), Image.fromarray(np.zeros((8, 8), dtype=np.float32)))
        path = path.with_suffix(".tif")
    elif damage == "another format":
        put(path, picture(), format="PCX")
    else:
        path.write_bytes(
            {
                "empty": b"",
                "text": b"hello",
                "cut": content[:-60],
                "flipped": content[:60] + b"\xff\xff\xff\xff" + content[64:],
                "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n",
            }[damage]
        )
    with pytest.raises(UserError, match=rf"{path} does not decode as an image .*: replace it or remove it"):
        load_folder(divided, 8)


def test_a_class_without_images(divided):
    for file in (divided / "train" / "dog").iterdir():
        file.unlink()
    (divided / "train" / "dog" / "a.txt").touch()
    (divided / "train" / "dog" / "b.txt").touch()
    with pytest.raises(UserError, match=r"dog has no image \(2 other files\)"):
        load_folder(divided, 8)


@pytest.mark.parametrize("kinds", [[], ["cat"]])
def test_fewer_than_two_classes(tmp_path, kinds):
    for kind in kinds:
        put(tmp_path / kind / "a.png")
    with pytest.raises(UserError, match=rf"has {len(kinds)} class folders: put the images of each class"):
        load_folder(tmp_path, 8)


def test_classes_that_differ_between_train_and_test(divided):
    put(divided / "test" / "emu" / "a.png")
    (divided / "train" / "cat").rename(divided / "train" / "bat")
    with pytest.raises(UserError, match="cat, emu in test/ and not in train/"):
        load_folder(divided, 8)


def test_train_without_test(divided):
    (divided / "test").rename(divided / "elsewhere")
    with pytest.raises(UserError, match="neither test/ nor val/"):
        load_folder(divided, 8)


def test_linked_folders_are_read_too(tmp_path):
    for number in range(10):
        put(tmp_path / "data" / "a" / f"{number}.png", picture(seed=number))
        put(tmp_path / "data" / "b" / f"{number}.png", picture(seed=100 + number))
        put(tmp_path / "elsewhere" / "deep" / f"{number}.png", picture(seed=200 + number))
    (tmp_path / "data" / "a" / "more").symlink_to(tmp_path / "elsewhere")
    put(tmp_path / "disk" / "c" / "0.png", picture(seed=300))
    for number in range(1, 5):
        shutil.copy(tmp_path / "disk" / "c" / "0.png", tmp_path / "disk" / "c" / f"{number}.png")
    (tmp_path / "data" / "c").symlink_to(tmp_path / "disk" / "c")
    splits = open_folder(tmp_path / "data", 8)
    counts = splits.train.labels.bincount() + splits.test.labels.bincount()
    assert counts.tolist() == [20, 10, 5]


def test_circles_of_links_end_and_add_nothing(divided, tmp_path_factory):
    put(divided / "train" / "cat" / "inside" / "9.png", picture(seed=9))
    before = load_folder(divided, 8)[0]
    cat = divided / "train" / "cat"
    for name, target in (("self", "."), ("up", ".."), ("top", "/"), ("aaa", "inside"), ("data", str(divided))):
        (cat / name).symlink_to(target)
    (cat / "inside" / "back").symlink_to("..")
    (cat / "inside" / "self.png").symlink_to("self.png")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "round").symlink_to(elsewhere)
    (cat / "elsewhere").symlink_to(elsewhere)
    splits = open_folder(divided, 8)
    assert torch.equal(splits.train.images, before.images)
    assert splits.notes == (
        "left out: links to folders that are read by another path, or lie above (7), such as train/cat/aaa",
        "left out: links that lead to no file (1), such as train/cat/inside/self.png",
    )


def test_what_is_left_out_is_said(divided):
    assert open_folder(divided, 8).notes == ()
    for name in ("train/cat/a.txt", "train/cat/b.txt", "test/dog/in/c.HEIC", "test/dog/README", "train/cat/.DS_Store"):
        (divided / name).parent.mkdir(exist_ok=True)
        (divided / name).touch()
    (divided / "train" / "dog" / "gone.png").symlink_to("nowhere.png")
    put(divided / "train" / "stray.png")
    put(divided / "other.png")
    put(divided / "extra" / "cat" / "0.png")
    assert open_folder(divided, 8).notes == (
        "left out: extra/ beside train/, test/",
        "left out: pictures beside class folders (2), such as other.png",
        "left out: files whose endings are not those of pictures, .txt 2, .heic 1, none 1 (4), such as train/cat/a.txt",
        "left out: links that lead to no file (1), such as train/dog/gone.png",
    )
    put(divided / "whole" / "a.png")
    for kind in ("cat", "dog"):
        for number in range(3):
            put(divided / "whole" / kind / f"{number}.png", picture(seed=number + 10 * (kind == "cat")))
    assert open_folder(divided / "whole", 8).notes == ("left out: pictures beside class folders (1), such as a.png",)


def test_pipes_and_sockets_are_called_so(divided, monkeypatch):
    cat = divided / "train" / "cat"
    os.mkfifo(cat / "pipe.png")
    os.mkfifo(divided / "test" / "dog" / "pipe")
    (cat / "null.png").symlink_to("/dev/null")
    (cat / "gone.png").symlink_to("nowhere")
    monkeypatch.chdir(cat)
    with socket.socket(socket.AF_UNIX) as own:
        own.bind("socket.png")
    assert set(open_folder(divided, 8).notes) == {
        "left out: pipes (2), such as train/cat/pipe.png",
        "left out: devices (1), such as train/cat/null.png",
        "left out: links that lead to no file (1), such as train/cat/gone.png",
        "left out: sockets (1), such as train/cat/socket.png",
    }


def test_a_folder_that_may_not_be_read_is_no_empty_one(divided, monkeypatch):
    (divided / "train" / "cat" / "locked").mkdir()
    real = os.scandir

    def scandir(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UserError, match=r"locked cannot be read \(Permission denied\)"):
        open_folder(divided, 8)


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_held_out_pictures_beside_train_and_test(divided, name):
    put(divided / name / "dog" / "0.png", picture(seed=77))
    splits = open_folder(divided, 8)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [6, 1, 4]
    assert torch.equal(splits.validation.images[0], planes(picture(seed=77)))
    assert splits.validation.labels.tolist() == [1]  # by name: there is no cat among them
    assert splits.notes == (f"{name}/ has no pictures of cat",)
    config = DataConfig(name="folder", image_size=8)
    opened = open_data(config, str(divided), seed=0)
    assert torch.equal(opened.validation.images, splits.validation.images)
    part = open_data(dataclasses.replace(config, validation=0.34), str(divided), seed=0)
    assert [len(part) for part in (part.train, part.validation, part.test)] == [4, 2, 4]
    assert f"{name}/ is left out" in part.notes[1]
    shutil.rmtree(divided / "test")
    put(divided / name / "cat" / "0.png", picture(seed=78))
    assert [len(part) if part else None for part in vars(open_folder(divided, 8)).values()][:3] == [6, None, 2]


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [("training", "val", "testing"), ("Train", "Valid", "Test"), ("train", "validation", "testing")],
)
def test_other_names_of_the_parts(divided, train, validation, test):
    expected = open_folder(divided, 8)
    (divided / "train").rename(divided / "moved")
    (divided / "moved").rename(divided / train)
    (divided / "test").rename(divided / "moved")
    (divided / "moved").rename(divided / test)
    for kind in ("cat", "dog"):
        put(divided / validation / kind / "0.png", picture(seed=77))
    splits = open_folder(divided, 8)
    assert torch.equal(splits.train.images, expected.train.images)
    assert torch.equal(splits.test.images, expected.test.images)
    assert len(splits.validation) == 2
    assert splits.about["parts"] == {"train": f"{train}/", "validation": f"{validation}/", "test": f"{test}/"}


def test_what_each_part_was_made_of(divided, capsys):
    config = DataConfig(name="folder", image_size=8)
    assert open_data(config, str(divided), seed=0).about["parts"] == {"train": "train/", "test": "test/"}
    drawn = open_data(dataclasses.replace(config, validation=0.34), str(divided), seed=0)
    print_split(config, drawn)
    line = "pictures: 4 train (train/), 2 validation (a share of 0.34 of train/), 4 test (test/)"
    assert line in capsys.readouterr().out
    (divided / "test").rename(divided / "val")
    splits = open_data(config, str(divided), seed=0)
    assert splits.validation is None
    assert splits.about["parts"]["test"] == "val/, as there is no test/"


def test_of_two_held_out_parts_one_is_taken_and_the_other_named(divided):
    for name in ("val", "validation"):
        for kind in ("cat", "dog"):
            put(divided / name / kind / "0.png", picture(seed=77))
    splits = open_folder(divided, 8)
    assert splits.about["parts"]["validation"] == "val/"
    assert splits.notes == ("left out: validation/ beside train/, test/, val/",)


def test_training_alone_is_a_class(tmp_path):
    for kind in ("training", "walking"):
        for number in range(3):
            put(tmp_path / kind / "outside" / f"{number}.png", picture(seed=number))
    assert load_folder(tmp_path, 8)[0].class_names == ("training", "walking")


def test_a_test_set_may_lack_a_class(divided):
    shutil.rmtree(divided / "test" / "cat")
    put(divided / "test" / "dog" / "5.png", picture(seed=5))
    assert open_folder(divided, 8).test.labels.tolist() == [1, 1, 1]
    put(divided / "train" / "bat" / "0.png", picture(seed=6))
    put(divided / "test" / "bat" / "0.png", picture(seed=7))
    splits = open_folder(divided, 8)
    assert splits.train.class_names == splits.test.class_names == ("bat", "cat", "dog")
    assert splits.test.labels.tolist() == [0, 2, 2, 2]
    assert splits.notes == ("test/ has no pictures of cat",)


def test_pictures_of_both_sides_are_counted(divided):
    for name in ("test/cat/1.png", "test/dog/7.png", "train/dog/8.png"):
        shutil.copy(divided / "train" / "cat" / "2.png", divided / name)
    splits = open_folder(divided, 8)
    assert splits.about["test_images_in_train"] == 2
    assert splits.notes == (
        "test images whose bytes are those of a training image (2), such as test/cat/1.png, as train/dog/8.png: "
        "the network has seen them in training",
    )
    for kind in ("cat", "dog"):
        for number in range(20):
            put(divided / "one" / kind / f"{number}.png", picture(seed=number % 10 + 10 * (kind == "cat")))
    assert open_folder(divided / "one", 8).about["test_images_in_train"] >= 4


def shape(mode):
    """A cross that only transparency shows."""
    array = np.zeros((8, 8, 4), dtype=np.uint8)
    array[:, 3:5, 3] = array[3:5, :, 3] = 255
    return Image.fromarray(array).convert(mode)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_picture_that_only_transparency_shows(divided, mode):
    put(divided / "train" / "cat" / "0.png", shape(mode))
    put(divided / "train" / "cat" / "1.png", picture(seed=1).convert("RGBA"))  # transparent nowhere
    put(divided / "train" / "cat" / "2.png", Image.new("RGBA", (8, 8), (0, 0, 0, 0)))  # shows nothing anyway
    assert open_folder(divided, 8).notes == (
        "pictures of one colour but for transparency, which is dropped (1), such as train/cat/0.png: put them onto a "
        "background",
    )
    with pytest.raises(UserError, match="image 1 of the data set is of one colour but for transparency"):
        from_dataset([(picture(), 0), (shape(mode), 1)])


def test_transparency_of_a_palette(divided):
    image = Image.new("P", (8, 8), 0)
    image.putpalette([0, 0, 0, 0, 0, 0])
    image.paste(1, (2, 2, 6, 6))
    put(divided / "train" / "cat" / "0.png", image, transparency=0)
    assert "of one colour but for transparency" in open_folder(divided, 8).notes[0]


def test_too_few_images_to_split(tmp_path):
    for kind, count in (("a", 5), ("b", 2)):
        for index in range(count):
            put(tmp_path / kind / f"{index}.png")
    with pytest.raises(UserError, match=r"b has 2 images, too few"):
        load_folder(tmp_path, 8)


def test_no_folder_and_no_size(tmp_path):
    with pytest.raises(UserError, match="nowhere does not exist"):
        load_folder(tmp_path / "nowhere", 8)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file is a file"):
        load_folder(tmp_path / "file", 8)
    with pytest.raises(UserError, match="image_size 0"):
        load_folder(tmp_path, 0)


def test_without_pillow_the_cure_is_named(divided, monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("PIL"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "PIL", raising=False)
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UserError, match=r"pip install 'sresnet\[images\]'"):
        load_folder(divided, 8)


ARRAY = np.random.default_rng(1).integers(0, 256, (6, 5, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(ARRAY),
        ARRAY,
        torch.from_numpy(ARRAY).permute(2, 0, 1),
        ARRAY.astype(np.float32) / 255,
        torch.from_numpy(ARRAY / 255).permute(2, 0, 1),
        (torch.from_numpy(ARRAY).permute(2, 0, 1) / 255).requires_grad_(),
        ARRAY[::-1][::-1],
        np.frombuffer(ARRAY.tobytes(), dtype=np.uint8).reshape(ARRAY.shape),
    ],
)
@pytest.mark.parametrize("label", [1, np.int64(1), torch.tensor(1)])
def test_every_kind_of_image_and_label_gives_the_same_set(image, label):
    images = from_dataset([(image, label), (image, 0)])
    assert torch.equal(images.images, torch.from_numpy(ARRAY).permute(2, 0, 1).expand(2, -1, -1, -1))
    assert images.labels.tolist() == [1, 0]
    assert images.class_names == ("0", "1")


@pytest.mark.parametrize(
    "image",
    [Image.fromarray(ARRAY[..., 0]), ARRAY[..., 0], ARRAY[..., :1], torch.from_numpy(ARRAY[..., 0].copy())],
)
def test_one_channel(image):
    assert torch.equal(from_dataset([(image, 0)]).images, torch.from_numpy(ARRAY[..., 0].copy())[None, None])


def test_floats_are_rounded_to_the_nearest():
    pixels = np.array([[0.4, 0.6, 99.6, 254.4, 254.6]]) / 255
    assert from_dataset([(pixels, 0)]).images.flatten().tolist() == [0, 1, 100, 254, 255]


def test_sixteen_bits_and_palettes_from_pillow():
    grey = ARRAY[..., 0]
    sixteen = Image.fromarray(grey.astype(np.uint16) << 8)
    assert torch.equal(from_dataset([(sixteen, 0)]).images[0, 0], torch.from_numpy(grey.copy()))
    assert from_dataset([(Image.fromarray(ARRAY).convert("P"), 0)]).images.shape == (1, 3, 6, 5)


def test_class_names_are_given_or_the_data_sets_own():
    class Named(list):
        classes = ("cat", "dog")

    assert from_dataset(Named([(ARRAY, 0)])).class_names == ("cat", "dog")
    assert from_dataset(Named([(ARRAY, 0)]), class_names=["a", "b"]).class_names == ("a", "b")


def test_a_torch_data_set_is_read_by_its_length():
    class Endless(torch.utils.data.Dataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return ARRAY, index

    assert from_dataset(Endless()).labels.tolist() == [0, 1, 2]


def test_a_fault_in_the_data_set_is_its_own():
    class Faulty(list):
        def __getitem__(self, index):
            raise TypeError("of the data set")

    with pytest.raises(TypeError, match="of the data set"):
        from_dataset(Faulty([1]))


@pytest.mark.parametrize(
    ("entries", "fault"),
    [
        ([], "empty"),
        ([(ARRAY, 0), (ARRAY[:5], 0)], r"image 1 .*\(3, 5, 5\), but image 0 is \(3, 6, 5\)"),
        ([(ARRAY.transpose(2, 0, 1), 0)], r"shape \(3, 6, 5\): expected \[H, W, C\]"),
        ([(torch.from_numpy(ARRAY), 0)], r"shape \(6, 5, 3\): expected"),
        ([(np.zeros((0, 5, 3), dtype=np.uint8), 0)], "shape"),
        ([(np.zeros(5, dtype=np.uint8), 0)], "shape"),
        ([(ARRAY.astype(np.float32), 0)], "runs from 2 to 255: expected float from 0 to 1"),
        ([(ARRAY / 255 - 0.5, 0)], "before any normalisation"),
        ([(ARRAY * np.nan, 0)], "runs from nan"),
        ([(ARRAY.astype(np.int32), 0)], "int32"),
        ([(ARRAY.astype(np.uint16), 0)], "uint16"),
        ([(ARRAY.astype(object), 0)], "of object"),
        ([(ARRAY > 3, 0)], "of bool"),
        ([(Image.fromarray(ARRAY[..., 0].astype(np.float32)), 0)], "mode F"),
        ([([[1]], 0)], "is of type list: give a PIL image"),
        ([ARRAY], "entry 0 .* is not"),
        ([(ARRAY, 0.5)], "entry 0 .* is not"),
        ([(ARRAY, [0, 1])], "entry 0 .* is not"),
        ([(ARRAY, 0, 0)], "entry 0 .* is not"),
        ([(ARRAY, -1)], "labels run from -1"),
    ],
)
def test_a_data_set_of_something_else(entries, fault):
    with pytest.raises(UserError, match=fault):
        from_dataset(entries)


def test_a_label_without_a_name():
    with pytest.raises(UserError, match="labels run from 2 to 2"):
        from_dataset([(ARRAY, 2)], class_names=["a", "b"])


@pytest.mark.parametrize(
    ("size", "cut"),
    [
        ((8, 12), (slice(None), slice(None))),  # as it is
        ((8, 8), (slice(None), slice(2, 10))),
        ((4, 12), (slice(2, 6), slice(None))),
        ((8, 4), (slice(None), slice(4, 8))),
    ],
)
def test_a_picture_for_an_input_of_two_sides(tmp_path, size, cut):
    picture(12, 8, seed=7).save(tmp_path / "a.png")
    found = read_picture(tmp_path / "a.png", size).pixels
    assert torch.equal(found, planes(picture(12, 8, seed=7))[:, *cut])


def test_a_picture_is_scaled_until_it_covers_both_sides(tmp_path):
    picture(10, 8, seed=7).save(tmp_path / "a.png")
    for size, whole in (((16, 16), (20, 16)), ((4, 20), (20, 16)), ((24, 7), (30, 24)), ((1, 1), (1, 1))):
        scaled = planes(picture(10, 8, seed=7).resize(whole, Image.Resampling.BICUBIC))
        top, left = ((side - wanted) // 2 for side, wanted in zip(reversed(whole), size, strict=True))
        found = read_picture(tmp_path / "a.png", size).pixels
        assert torch.equal(found, scaled[:, top : top + size[0], left : left + size[1]])
