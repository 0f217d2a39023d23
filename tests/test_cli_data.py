"""The verbs on other people's pictures: classes by name, and what is said of the data."""

import json
import re
import shutil

import pytest
import torch

from sresnet.cli import main
from sresnet.data import DataConfig, ImageSet, Splits
from sresnet.models import SResNetConfig
from sresnet.train.loop import train
from sresnet.train.recipe import Recipe, TrainConfig

Image = pytest.importorskip("PIL.Image")

COLOURS = {"ant": (200, 30, 30), "bee": (30, 200, 30), "cat": (30, 30, 200)}
TINY = "--model.base-filters 4 --model.num-steps 2 --train.epochs 12 --train.batch-size 6 --data.image-size 8".split()


def pictures(folder, names, count=10, size=(8, 8)):
    """Class folders below `folder`; `names` says which class the pictures of each are really of."""
    for name, really in names.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            colour = tuple(min(255, max(0, value + 3 * number)) for value in COLOURS[really])
            Image.new("RGB", size, colour).save(folder / name / f"{number}.png")
    return folder


def as_they_are(*names):
    return {name: name for name in names}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that tells three colours apart, and the folder of its pictures."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("colours")
    data = pictures(folder / "data", as_they_are("ant", "bee", "cat"))
    command = ["train", "folder", *TINY, "--data-dir", str(data), "--data.validation", "0.2", "--train.learning-rate"]
    assert main([*command, "0.1", "--data.crop-padding", "0", "--out", str(folder / "run")]) == 0
    assert json.loads((folder / "run" / "result.json").read_text())["test_top1"] == 100
    return folder / "run"


OTHERS = {
    "fewer classes": as_they_are("bee", "cat"),
    "fewer classes, the first ones": as_they_are("ant", "bee"),
}


@pytest.mark.parametrize("names", OTHERS.values(), ids=OTHERS)
def test_classes_of_other_data_are_matched_by_name(run, tmp_path, capsys, names):
    data = str(pictures(tmp_path / "other", names))
    assert main(["evaluate", str(run), "--data-dir", data]) == 0
    out = capsys.readouterr().out
    assert "test accuracy: 100.00 %" in out
    assert "note: these are not the data of the run (18 train samples, now 12)" in out
    assert (
        main(["evaluate", str(run), "--data-dir", data, "--exit-confidence", "0.9", "--out", str(tmp_path / "e")]) == 0
    )
    out = capsys.readouterr().out
    assert "all 2 steps: 100.00 %" in out
    assert "note: these are not the data of the run" in out
    assert "samples, now" in json.loads((tmp_path / "e" / "early-exit.json").read_text())["other_data"]
    assert main(["analyse", str(run), "--data-dir", data, "--out", str(tmp_path / "a")]) == 0
    out = capsys.readouterr().out
    assert "accuracy: 100.00 %" in out
    assert "note: these are not the data of the run" in out
    assert "samples, now" in json.loads((tmp_path / "a" / "analysis.json").read_text())["other_data"]
    assert main(["report", str(run), "--data-dir", data, "-o", str(tmp_path / "page.html")]) == 0
    assert "over data other than the run" in (tmp_path / "page.html").read_text()


def test_the_data_of_the_run_are_known_again(run, tmp_path, capsys):
    moved = shutil.copytree(run.parent / "data", tmp_path / "moved")
    for words in ([], ["--data-dir", str(moved)]):
        assert main(["evaluate", str(run), *words]) == 0
        assert "not the data" not in capsys.readouterr().out
    assert main(["report", str(run), "-o", str(tmp_path / "page.html")]) == 0
    assert "not the data" not in (tmp_path / "page.html").read_text()


def test_unknown_classes_are_refused_with_both_lists(run, tmp_path, capsys):
    data = str(pictures(tmp_path / "other", {"ant": "ant", "bee": "bee", "owl": "cat"}))
    for words in (["evaluate"], ["evaluate", "--exit-confidence", "0.9"], ["analyse", "--out", str(tmp_path / "a")]):
        assert main([words[0], str(run), *words[1:], "--data-dir", data]) == 2
        assert capsys.readouterr().err.startswith(
            "sresnet: the data have class owl, unknown to the network: they are of ant, bee, owl, and the network "
            "knows ant, bee, cat"
        )
    assert main(["report", str(run), "--data-dir", data, "-o", str(tmp_path / "page.html")]) == 0
    assert "the data have class owl, unknown to the network" in capsys.readouterr().out


def test_pictures_that_were_added_are_not_trained_on_in_the_middle(run, tmp_path, capsys):
    data = shutil.copytree(run.parent / "data", tmp_path / "data")
    command = ["train", "folder", *TINY, "--data-dir", str(data), "--out", str(tmp_path / "run")]
    assert main([*command, "--max-minutes", "0"]) == 0
    pictures(tmp_path / "more", {"ant": "ant"}, count=14)
    shutil.copytree(tmp_path / "more" / "ant", data / "ant", dirs_exist_ok=True)
    capsys.readouterr()
    assert main(command) == 2
    assert "run on other data (21 train samples, now 24)" in capsys.readouterr().err


def test_a_run_whose_network_has_other_classes_than_it_names(run, tmp_path, capsys):
    copy = shutil.copytree(run, tmp_path / "copy")
    about = json.loads((copy / "data.json").read_text())
    (copy / "data.json").write_text(json.dumps(about | {"class_names": ["ant", "bee"]}))
    assert main(["predict", str(copy), str(run.parent / "data" / "ant" / "0.png")]) == 2
    assert "names 2 classes in data.json, and its network has 3" in capsys.readouterr().err


@pytest.fixture(scope="module")
def wide_run(tmp_path_factory):
    """A run on images of 8x12 pixels whose class is where the bright part lies: nothing of it in the middle 8x8."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("wide")
    labels = torch.arange(60) % 2
    pixels = torch.randint(0, 60, (60, 3, 8, 12), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    for picture, label in zip(pixels, labels, strict=True):
        picture[:, :, slice(0, 2) if label == 0 else slice(10, 12)] += 150
    images = ImageSet(images=pixels, labels=labels, class_names=("left", "right"))
    part = torch.arange(40)
    splits = Splits(train=images.subset(part), validation=None, test=images.subset(part[:20] + 40))
    recipe = Recipe(
        model=SResNetConfig(depth=8, base_filters=4, num_steps=2, num_classes=2, surrogate_height=1.0),
        data=DataConfig(name="folder", flip=False, crop_padding=0),
        train=TrainConfig(epochs=12, batch_size=10, learning_rate=0.1),
    )
    outcome = train(recipe, splits, folder / "run", device=torch.device("cpu"))
    assert outcome.result["test_top1"] == 100
    for number in range(40, 60):
        Image.fromarray(pixels[number].permute(1, 2, 0).numpy()).save(folder / f"{number}.png")
    return folder / "run"


def test_predict_takes_both_sides_of_an_image(wide_run, capsys):
    files = sorted(wide_run.parent.glob("*.png"))
    assert main(["predict", str(wide_run), *map(str, files)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 20
    for path, line in zip(files, lines, strict=True):
        assert line.startswith(f"{path}: {('left', 'right')[int(path.stem) % 2]} ")


def test_info_of_a_run_is_of_its_images(wide_run, capsys):
    assert main(["info", str(wide_run)]) == 0
    out = capsys.readouterr().out
    assert "3x8x12 images" in out
    assert re.search(r"^stem\.conv .* 4x8x12 ", out, re.M)
    for words in (["info", str(wide_run), "--image-size", "16x24"], ["info", "sresnet8", "--image-size=16x24"]):
        assert main(words) == 0
        assert "3x16x24 images" in capsys.readouterr().out
    for text in ("²", "0", "16x", "16x0", "x16", "16x24x3", "-4", "12345"):
        assert main(["info", "sresnet8", f"--image-size={text}"]) == 2
        assert "is neither a side of 1 to 9999 pixels nor" in capsys.readouterr().err


def test_images_of_another_size_are_refused(wide_run, tmp_path, capsys):
    data = str(pictures(tmp_path / "data", {"left": "ant", "right": "bee"}))
    for verb in ("evaluate", "analyse"):
        assert main([verb, str(wide_run), "--data-dir", data]) == 2
        assert "the data are of 32x32 pixels" in capsys.readouterr().err


def test_what_was_left_out_is_said_by_train_and_evaluate(run, tmp_path, capsys):
    data = shutil.copytree(run.parent / "data", tmp_path / "data")
    (data / "ant" / "list.txt").touch()
    shutil.copy(data / "bee" / "0.png", data / "bee" / "again.png")
    few = ["--train.epochs", "1", "--data.validation", "0.02"]
    command = ["train", "folder", *TINY, *few, "--data-dir", str(data), "--out", str(tmp_path / "run")]
    assert main(command) == 2
    assert "validation 0.02 holds out none of 25 training images" in capsys.readouterr().err
    command[command.index("0.02")] = "0.06"
    for words in (command, ["evaluate", str(tmp_path / "run")]):
        assert main(words) == 0
        out = capsys.readouterr().out
        left = "left out: files whose endings are not those of pictures, .txt 1 (1), such as ant/list.txt"
        assert f"note: {left}\n" in out
        assert "note: validation 0.06 holds out nothing of classes with few images: ant, cat\n" in out


def test_predict_says_that_transparency_was_all(run, tmp_path, capsys):
    picture = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    picture.paste((0, 0, 0, 255), (2, 2, 6, 6))
    picture.save(tmp_path / "a.png")
    assert main(["predict", str(run), str(tmp_path / "a.png")]) == 0
    assert "a.png is of one colour but for transparency, which is dropped" in capsys.readouterr().out
