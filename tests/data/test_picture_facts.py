"""What `sresnet data info` says of pictures."""

import json
import shutil

import numpy as np
import pytest

from sresnet.cli import main
from sresnet.data import picture_facts
from sresnet.data.folder import open_folder, pictures_in
from sresnet.data.picture_facts import describe_pictures, more_pictures

Image = pytest.importorskip("PIL.Image")


def scene(seed, size=(48, 32)):
    """A picture with as much structure as a photograph's: few large patches of colour, and noise."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    noise = random.integers(-6, 7, (size[1], size[0], 3))
    return Image.fromarray(np.clip(np.asarray(coarse) + noise, 0, 255).astype(np.uint8))


@pytest.fixture
def folder(tmp_path):
    """Six pictures to train on, two held out and two to test on, of two classes."""
    for part, seeds in (("train", range(6)), ("val", range(10, 12)), ("test", range(20, 22))):
        for seed in seeds:
            place = tmp_path / part / ("cat", "dog")[seed % 2]
            place.mkdir(parents=True, exist_ok=True)
            scene(seed).save(place / f"{seed}.png")
    return tmp_path


def described(path):
    return describe_pictures(pictures_in(path))


def test_counts_sizes_modes_and_bits(folder):
    scene(30, (20, 10)).convert("L").save(folder / "train" / "cat" / "a.png")
    deep = np.full((40, 60), 4000, np.uint16)
    Image.fromarray(deep).save(folder / "train" / "dog" / "b.png")
    (folder / "train" / "dog" / "notes.txt").touch()
    (folder / "test" / "dog" / "c.png").write_bytes((folder / "test" / "dog" / "21.png").read_bytes()[:300])
    found = described(folder)
    assert found.by_class == {
        "train": {"cat": 4, "dog": 4}, "test": {"cat": 1, "dog": 2}, "validation": {"cat": 1, "dog": 1}
    }  # fmt: skip
    assert found.parts == {"train": "train/", "validation": "val/", "test": "test/"}
    assert found.sizes == {"48x32": 10, "20x10": 1, "60x40": 1}
    assert (found.smallest, found.largest) == ("20x10", "60x40")
    assert found.modes == {"RGB": 10, "L": 1, "I;16": 1}
    assert found.bits == {8: 11, 12: 1}
    assert len(found.damaged) == 1
    assert "c.png does not decode as an image" in found.damaged[0]
    assert found.notes == (
        "left out: files whose endings are not those of pictures, .txt 1 (1), such as train/dog/notes.txt",
    )


def test_what_is_drawn_is_what_training_draws(folder):
    for part in ("val", "test"):
        shutil.rmtree(folder / part)
    for seed in range(40, 50):
        scene(seed).save(folder / "train" / ("cat", "dog")[seed % 2] / f"{seed}.png")
    found, splits = pictures_in(folder / "train"), open_folder(folder / "train", 8)
    assert found.by_class["test"] == {"cat": 2, "dog": 2}
    assert len(splits.test) == 4
    assert found.origins == splits.about["parts"]
    (folder / "train" / "dog" / "49.png").write_bytes((folder / "train" / "cat" / "40.png").read_bytes())
    assert len(described(folder / "train").copies) == open_folder(folder / "train", 8).about.get(
        "test_images_in_train", 0
    )


def test_copies(folder):
    shutil.copy(folder / "train" / "cat" / "0.png", folder / "train" / "dog" / "copy.png")
    shutil.copy(folder / "train" / "cat" / "2.png", folder / "val" / "cat" / "v.png")
    shutil.copy(folder / "val" / "dog" / "11.png", folder / "test" / "dog" / "t.png")
    found = described(folder)
    assert found.copies_within == {"train": 1}
    assert [(pair.path, pair.part, pair.other, pair.other_part) for pair in found.copies] == [
        ("val/cat/v.png", "validation", "train/cat/2.png", "train"),
        ("test/dog/t.png", "test", "val/dog/11.png", "validation"),
    ]
    assert found.alike == ()  # each is told of once


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image.resize((96, 64), Image.Resampling.BICUBIC),
        lambda image: image.crop((1, 0, 48, 31)),
        lambda image: image.point(lambda value: round(0.7 * value)),
        lambda image: image.point(lambda value: min(255, value + 20)),
    ],
    ids=["larger", "cut", "darker", "brighter"],
)
def test_pictures_that_look_alike(folder, change):
    change(scene(3)).save(folder / "test" / "cat" / "x.jpg", quality=80)
    change(scene(11)).save(folder / "test" / "cat" / "y.jpg", quality=80)
    found = described(folder)
    assert {(pair.path, pair.other) for pair in found.alike} == {
        ("test/cat/x.jpg", "train/dog/3.png"), ("test/cat/y.jpg", "val/dog/11.png")
    }  # fmt: skip
    assert all(0.95 <= pair.correlation <= 1 for pair in found.alike)


def test_the_most_alike_of_several_and_none_of_other_colours(folder):
    """The same scene in other colours has the same edges, by which alone it would be taken for the same."""
    scene(3).save(folder / "test" / "cat" / "x.jpg", quality=80)
    scene(3).crop((2, 0, 46, 30)).save(folder / "train" / "cat" / "cut.png")
    scene(3).crop((1, 0, 47, 31)).save(folder / "train" / "dog" / "cut.png")
    gradient = np.linspace(0, 255, 48).astype(np.uint8)[None, :, None].repeat(32, 0).repeat(3, 2)
    for name, blue in (("train/cat/grey.png", 1.0), ("test/dog/yellow.png", 0.3)):
        colour = gradient.copy()
        colour[..., 2] = blue * gradient[..., 2]
        Image.fromarray(colour).save(folder / name)
    assert [(pair.path, pair.other) for pair in described(folder).alike] == [("test/cat/x.jpg", "train/dog/3.png")]


def test_other_pictures_do_not_look_alike(tmp_path):
    for part, start in (("train", 0), ("test", 1000)):
        for seed in range(150):
            place = tmp_path / part / ("cat", "dog")[seed % 2]
            place.mkdir(parents=True, exist_ok=True)
            scene(start + seed).save(place / f"{seed}.png")
    for name, grey in (("train/cat/g.png", 200), ("test/cat/g.png", 201)):
        Image.new("RGB", (48, 32), (grey, grey, grey)).save(tmp_path / name)
    assert described(tmp_path).alike == ()


def test_too_many_to_compare(folder, monkeypatch):
    monkeypatch.setattr(picture_facts, "_MOST_PAIRS", 27)  # 6 * 2 + 8 * 2 = 28
    assert described(folder).alike is None
    monkeypatch.setattr(picture_facts, "_MOST_PAIRS", 28)
    monkeypatch.setattr(picture_facts, "_AT_ONCE", 1)
    scene(3).save(folder / "test" / "cat" / "x.jpg")
    (folder / "test" / "dog" / "21.png").unlink()
    scene(23).save(folder / "test" / "dog" / "23.png")
    monkeypatch.setattr(picture_facts, "_MOST_PAIRS", 100)
    assert [pair.path for pair in described(folder).alike] == ["test/cat/x.jpg"]


def test_the_command(folder, capsys):
    shutil.copy(folder / "train" / "cat" / "0.png", folder / "test" / "cat" / "copy.png")
    scene(3).save(folder / "test" / "dog" / "x.jpg")
    assert main(["data", "info", str(folder)]) == 0
    said = capsys.readouterr().out
    for line in (
        "pictures: 6 train (train/), 4 test (test/), 2 validation (val/)",
        "size: 48x32",
        "modes: RGB: 12",
        "bits: 8: 12",
        "damaged: 0",
        "copies of other files in the same part: none",
        "copies of files in another part: 1",
        "  test/cat/copy.png (test) and train/cat/0.png (train)",
        "pictures that look like one in another part: 1",
    ):
        assert line in said.splitlines()
    assert main(["data", "info", str(folder), "--json"]) == 0
    given = json.loads(capsys.readouterr().out)
    assert given["copies"][0]["other"] == "train/cat/0.png"
    assert given["alike"][0]["path"] == "test/dog/x.jpg"
    assert given["by_class"]["test"] == {"cat": 2, "dog": 2}
    lines = [f"{path.relative_to(folder)},{path.parent.name}" for path in sorted(folder.rglob("*.png"))]
    (folder / "list.csv").write_text("\n".join(["path,kind", *lines]))
    assert main(["data", "info", str(folder / "list.csv")]) == 2
    assert "with --data.label-column" in capsys.readouterr().err
    for flag in ("--data.label-column", "--label-column"):
        assert main(["data", "info", str(folder / "list.csv"), flag, "kind"]) == 0
    assert f"list: {folder / 'list.csv'}" in capsys.readouterr().out
    assert main(["data", "info", str(folder / "train" / "cat" / "0.png"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) | {"picture": ""} == {
        "picture": "", "width": 48, "height": 32, "mode": "RGB", "bits": 8
    }  # fmt: skip


def test_recordings_beside_pictures(folder):
    assert more_pictures(folder)
    for number in range(20):
        (folder / f"{number}.aedat").touch()
    assert not more_pictures(folder)
    (folder / "empty").mkdir()
    assert main(["data", "info", str(folder / "empty")]) == 2


def test_classes_too_small_to_hold_a_fifth_out_are_named(tmp_path):
    for name, count in (("cat", 2), ("dog", 2), ("owl", 5)):
        (tmp_path / name).mkdir()
        for number in range(count):
            (tmp_path / name / f"{number}.png").write_bytes(b"")
    found = pictures_in(tmp_path)
    assert found.by_class["test"] == {"cat": 0, "dog": 0, "owl": 1}
    (note,) = found.notes
    assert note.startswith(
        "too few pictures to hold a fifth out for the test set, which training refuses: cat, dog; add"
    )
    (tmp_path / "cat" / "2.png").write_bytes(b"")
    (tmp_path / "dog" / "2.png").write_bytes(b"")
    assert pictures_in(tmp_path).notes == ()
