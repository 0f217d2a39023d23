"""CSV files that list pictures."""

import json
import time

import numpy as np
import pytest
import torch

from sresnet.cli import main
from sresnet.data import DataConfig, open_data
from sresnet.data.folder import open_folder
from sresnet.data.opening import has_validation
from sresnet.data.picture_list import read_list
from sresnet.errors import UserError

Image = pytest.importorskip("PIL.Image")


@pytest.fixture
def folder(tmp_path):
    """Ten pictures, `pictures/0.png` and so on, each of one grey."""
    (tmp_path / "pictures").mkdir()
    for number in range(10):
        Image.fromarray(np.full((6, 6, 3), 10 * number, np.uint8)).save(tmp_path / "pictures" / f"{number}.png")
    return tmp_path


def write(folder, *lines, end="\n", encoding="utf-8", name="list.csv"):
    (folder / name).write_bytes("".join(f"{line}{end}" for line in lines).encode(encoding))
    return folder / name


def rows(numbers, classes=("cat", "dog"), template="pictures/{0}.png,{1}"):
    return [template.format(number, classes[number % len(classes)]) for number in numbers]


def greys(samples):
    return [int(each.flatten()[0]) // 10 for each in samples.batch(torch.arange(len(samples)))]


def names(samples):
    return [samples.class_names[label] for label in samples.labels.tolist()]


@pytest.mark.parametrize("stored", [False, True])
def test_paths_classes_and_parts(folder, stored, tmp_path_factory):
    given = {"cache_dir": str(tmp_path_factory.mktemp("cache"))} if stored else {}
    parts = ["train"] * 6 + ["val"] * 2 + ["test"] * 2
    path = write(folder, "path,label,split", *(f"{row},{parts[n]}" for n, row in enumerate(rows(range(10)))))
    splits = open_folder(path, 6, **given)
    assert [greys(part) for part in (splits.train, splits.validation, splits.test)] == [
        [0, 1, 2, 3, 4, 5],
        [6, 7],
        [8, 9],
    ]
    assert names(splits.train) == ["cat", "dog"] * 3
    assert splits.about["parts"] == {
        "train": "train in list.csv", "validation": "validation in list.csv", "test": "test in list.csv"
    }  # fmt: skip
    assert has_validation(DataConfig(name="folder"), str(path))
    part = open_data(DataConfig(name="folder", image_size=6, validation=0.34), str(path), seed=0)
    assert (len(part.train), len(part.validation)) == (4, 2)
    assert "validation in list.csv is left out, as a part of train in list.csv is held out" in part.notes[0]


def test_without_a_column_for_it_a_fifth_is_the_test_set(folder):
    path = write(folder, "path,label", *rows(range(10)))
    splits = open_folder(path, 6)
    assert (len(splits.train), len(splits.test)) == (8, 2)
    assert sorted(greys(splits.train) + greys(splits.test)) == list(range(10))
    assert not has_validation(DataConfig(name="folder"), str(path))
    for name, number in (("cat", 0), ("dog", 1)):  # and the same as of class folders
        (folder / "classes" / name).mkdir(parents=True)
        for each in range(number, 10, 2):
            (folder / "pictures" / f"{each}.png").rename(folder / "classes" / name / f"{each}.png")
    ordered = [
        f"classes/{name}/{n}.png,{name}" for name, first in (("cat", 0), ("dog", 1)) for n in range(first, 10, 2)
    ]
    assert (
        open_folder(write(folder, "path,label", *ordered), 6).train.digest()
        == open_folder(folder / "classes", 6).train.digest()
    )


def test_held_out_pictures_are_the_test_set_where_there_is_none(folder):
    path = write(
        folder, "path,label,split", *(f"{row},{'train' if n < 8 else 'valid'}" for n, row in enumerate(rows(range(10))))
    )
    splits = open_folder(path, 6)
    assert greys(splits.test) == [8, 9]
    assert splits.validation is None
    assert splits.about["parts"]["test"] == "validation in list.csv, which has no test"
    assert not has_validation(DataConfig(name="folder"), str(path))


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize(("end", "encoding"), [("\n", "utf-8"), ("\r\n", "utf-8-sig"), ("\r", "utf-8")])
def test_ways_to_write_a_list(folder, delimiter, end, encoding):
    Image.new("RGB", (6, 6)).save(folder / 'with , ; "all".png')
    lines = [
        delimiter.join(("Class", "note", " FileName ")),
        "",
        delimiter.join(("café", "", '"with , ; ""all"".png"')),
    ]
    lines += [delimiter.join((f'"{name}"', "a note", f" pictures/{n}.png")) for n, name in enumerate(("café", "tea"))]
    found = read_list(write(folder, *lines, end=end, encoding=encoding))
    assert [(each.path.name, each.class_name) for each in found.entries] == [
        ('with , ; "all".png', "café"), ("0.png", "café"), ("1.png", "tea")
    ]  # fmt: skip


def test_whole_numbers_are_in_their_order(folder):
    path = write(folder, "image,target", *rows(range(10), classes=("10", "9")))
    assert open_folder(path, 6).train.class_names == ("9", "10")


def test_paths(folder, monkeypatch):
    lines = [f"{folder}/pictures/0.png,a", "./pictures/../pictures/1.png,a", r"pictures\2.png,b"]
    path = write(folder, "path,label", *lines)
    assert [each.path.name for each in read_list(path).entries] == ["0.png", "1.png", "2.png"]
    monkeypatch.chdir(folder)
    assert str(read_list(path.relative_to(folder)).entries[0].path) == "pictures/0.png"
    inside = write(folder / "pictures", "path,label", "../other.png,a")
    Image.new("RGB", (6, 6)).save(folder / "other.png")
    with pytest.raises(UserError, match=r"line 2 names \.\./other.png, outside the folder of the list"):
        read_list(inside)


def test_what_is_said_twice_is_left_out(folder):
    path = write(folder, "path,label", *rows(range(10)), "./pictures/3.png,dog", "pictures/4.png,cat")
    splits = open_folder(path, 6)
    assert len(splits.train) + len(splits.test) == 10
    assert splits.notes == ("left out: lines of list.csv that say what earlier ones say (2, such as line 12)",)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["name,label"], "line 1 names no column path, file, filename, filepath or image, but 'name,label'"),
        (["pictures/0.png,cat"], "line 1 names no column"),
        (["path|label", "pictures/0.png|cat"], "names its columns, with commas, semicolons or tabs between them"),
        ([], "line 1 names no column"),
        (["path,label"], "names no picture"),
        (["path,file,label"], "line 1 names path and file, which may all be the pictures"),
        (["path,label,class"], "several columns of classes, label and class: choose one with --data.label-column NAME"),
        (["path,breed"], "has no column label, class, target: choose one of path, breed with --data.label-column"),
        (["path,label,split,Split"], "names split twice"),
        (["path,label", "pictures/0.png,cat", "pictures/1.png"], "line 3 has 1 fields, and the first line 2"),
        (["path,label", "pictures/0.png,cat,dog"], "line 2 has 3 fields"),
        (["path,label", "", "pictures/0.png,"], "line 3 has no label: fill it in"),
        (["path,label", ",cat"], "line 2 has no path"),
        (["path,label", "pictures/no.png,cat"], "line 2 names pictures/no.png, which does not exist"),
        (["path,label", "pictures,cat"], "line 2 names pictures, which is a folder"),
        (["path,label", "/etc/passwd,cat"], "line 2 names /etc/passwd, outside the folder"),
        (["path,label", "pictures/0.png,cat", "pictures/0.png,dog"], "line 3 has 0.png as dog, and line 2 as cat"),
        (["path,label,split", "pictures/0.png,cat,train", "pictures/0.png,cat,test"], "line 3 has 0.png as cat test"),
        (["path,label,split", "pictures/0.png,cat,dev"], "line 2 has split 'dev': write one of train, training"),
        (["path,label,split", "pictures/0.png,cat,"], "line 2 has split ''"),
        (["path,label,split", "pictures/0.png,cat,train"], "has no line of split test or val"),
        (["path,label,split", "pictures/0.png,cat,test"], "has no line of split train"),
        (["path,label", "pictures/0.png,cat"], "names one class to train on, cat"),
        (["path,label", "pictures/0.png,cat", "pictures/1.png,dog"], "list.csv: cat has 1 images, too few"),
        (
            ["path,label,split", *(f"{r},train" for r in rows(range(2))), "pictures/4.png,owl,test"],
            "line 4 is of class owl, and no line of split train is",
        ),
        (["path,label", '"pictures/0.png,cat'], "line 2 cannot be read"),
        (["path,label", '"pictures/0.png"x,cat'], "line 2 cannot be read"),
        (["path,label", "pictures/0\0.png,cat"], "line 2"),
    ],
)
def test_mistakes(folder, lines, message):
    path = write(folder, *lines)
    with pytest.raises(UserError) as error:
        open_folder(path, 6)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_other_encodings_and_other_files(folder):
    path = write(folder, "path,label", "pictures/0.png,cat", "pictures/1.png,café", encoding="latin-1")
    with pytest.raises(UserError, match="line 3 is no text in UTF-8"):
        read_list(path)
    with pytest.raises(UserError, match="none.csv does not exist"):
        open_folder(folder / "none.csv", 6)
    with pytest.raises(UserError, match="0.png is a file: give the folder"):
        open_folder(folder / "pictures" / "0.png", 6)


def test_the_column_of_classes_is_chosen(folder):
    lines = ["path,label,class,breed", *(f"{row},{n % 3},x" for n, row in enumerate(rows(range(10))))]
    path = write(folder, *lines)
    assert {each.class_name for each in read_list(path, "Class").entries} == {"0", "1", "2"}
    assert {each.class_name for each in read_list(path, "breed").entries} == {"x"}
    with pytest.raises(UserError, match="no column 'colour': choose --data.label-column from path, label, class"):
        read_list(path, "colour")


def test_a_hundred_thousand_lines(folder):
    (folder / "many").mkdir()
    for number in range(100):
        (folder / "many" / f"{number}.png").touch()
    lines = [f'"many/{number % 100}.png";{number % 100 % 7};train' for number in range(100_000)]
    path = write(folder, "file;class;split", *lines)
    started = time.process_time()
    found = read_list(path)
    assert time.process_time() - started < 20
    assert (len(found.entries), len(found.twice)) == (100, 99_900)
    path.write_text(path.read_text() + "many/0.png;;train\n")
    with pytest.raises(UserError, match="line 100002 has no class"):
        read_list(path)


def test_a_run_of_a_list(folder, capsys):
    path = write(folder, "path,kind", *rows(range(10)))
    words = "--model.base-filters 4 --model.num-steps 2 --model.in-channels 3 --train.batch-size 4 --train.epochs 1"
    words += f" --data.name folder --data.image-size 6 --device cpu --data-dir {path} --out {folder / 'run'}"
    assert main(["train", "digits", *words.split()]) == 2
    assert "choose one of path, kind with --data.label-column" in capsys.readouterr().err
    assert main(["train", "digits", *words.split(), "--data.label-column", "kind"]) == 0
    assert "pictures: 8 train (four fifths of each class), 2 test (the other fifth" in capsys.readouterr().out
    assert json.loads((folder / "run" / "data.json").read_text())["class_names"] == ["cat", "dog"]
    assert main(["evaluate", str(folder / "run")]) == 0
