"""`sresnet finetune` on a run's own data: norms per step become one, and the network goes to NIR."""

import json
import re
from pathlib import Path

import pytest
import torch

import sresnet
from sresnet.cli import main
from tests.report.runs import train_tiny

MERGED = ["--model.norm", "time-averaged"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    pytest.importorskip("sklearn")
    return train_tiny(tmp_path_factory.mktemp("runs") / "run")


def equal_in_nir(folder, capsys):
    """Export a run, read the file back, and compare: the same accuracy, the same scores after every step."""
    assert main(["export", str(folder), "--to", "nir", "--images", "40"]) == 0
    out = capsys.readouterr().out
    before, after = re.search(r"^test accuracy.*: (\S+) % before, (\S+) % after export", out, re.M).groups()
    same = int(re.search(r"^scores after every step are equal on (\d+) of \1 ", out, re.M)[1])
    near, all_near = map(int, re.search(r"^and on (\d+) of (\d+) with a potential within", out, re.M).groups())
    assert near == all_near or before == after
    assert main(["evaluate", f"{folder}.nir", "--images", "40"]) == 0
    assert f": {after} %" in capsys.readouterr().out
    return same + all_near


@pytest.mark.parametrize("how", [["--calibrate"], ["--train.epochs", "1"]])
def test_the_cure_that_the_refusal_of_nir_names(run, tmp_path, capsys, how):
    pytest.importorskip("nir", reason="the extra nir is not installed")
    assert main(["export", str(run), "--to", "nir"]) == 2
    said = capsys.readouterr().err
    assert "sresnet finetune RUN --model.norm time-averaged, with --calibrate if without training" in said
    words = re.search(r"finetune RUN (--model.norm \S+),", said)[1].split()
    folder = tmp_path / "one"
    assert main(["finetune", str(run), *words, *how, "--out", str(folder)]) == 0
    out = capsys.readouterr().out
    before = json.loads((run / "result.json").read_text())["test_top1"]
    after = json.loads((folder / "result.json").read_text())["test_top1"]
    assert f"test accuracy: {after:.2f} %\nbefore, {run}: {before:.2f} %\nrun folder: {folder}\n" in out
    assert equal_in_nir(folder, capsys) == 40
    assert main(["evaluate", str(folder)]) == 0
    assert f"test accuracy: {after:.2f} %" in capsys.readouterr().out
    assert main(["report", str(folder)]) == 0
    assert main(["finetune", str(folder), "--train.epochs", "1", "--out", str(tmp_path / "on")]) == 0  # it trains on
    assert f"before, {folder}: {after:.2f} %" in capsys.readouterr().out


def test_a_network_that_comes_with_the_package(tmp_path, capsys):
    pytest.importorskip("sklearn")
    out = ["--out", str(tmp_path / "one")]
    assert main(["finetune", "digits-t4", *MERGED, "--calibrate", *out]) == 0
    after = float(re.search(r"^test accuracy: (\S+) %\nbefore, digits-t4: 97.49 %$", capsys.readouterr().out, re.M)[1])
    assert after > 96
    config = json.loads((tmp_path / "one" / "config.json").read_text())
    assert (config["pretrained"], config["pretrained_layers"], config["calibrate"]) == ("digits-t4", "all", True)
    assert main(["finetune", str(tmp_path / "one"), "--data", "digits", "--help"]) == 0
    words = ["--data", "digits", "--train.epochs", "1", "--data.train-images", "64", "--out", str(tmp_path / "other")]
    assert main(["finetune", str(tmp_path / "one"), *words]) == 0  # on other data it is an ordinary start
    config = json.loads((tmp_path / "other" / "config.json").read_text())
    assert not {"pretrained_layers", "calibrate"} & config.keys()


def test_without_other_data_all_layers_go_on_gently(run, tmp_path):
    assert (
        main(["finetune", str(run), "--train.learning-rate", "0", "--train.epochs", "1", "--out", str(tmp_path / "on")])
        == 0
    )
    old, new = sresnet.load(run).state_dict(), sresnet.load(tmp_path / "on").state_dict()
    assert all(torch.equal(new[name], old[name]) for name in new if "running" not in name)
    assert main(["finetune", str(run), "--out", str(tmp_path / "default")]) == 0
    train, theirs = (
        json.loads((folder / "config.json").read_text())["train"] for folder in (tmp_path / "default", run)
    )
    assert train["epochs"] == 1
    assert train["learning_rate"] == pytest.approx(theirs["learning_rate"] / 10)


def test_time_segments_are_left_out_where_a_norm_is_of_all_steps(tmp_path):
    pytest.importorskip("sklearn")
    run = train_tiny(tmp_path / "run", "--train.time-segments", "2")
    assert main(["finetune", str(run), *MERGED, "--calibrate", "--out", str(tmp_path / "one")]) == 0
    assert "time_segments" not in json.loads((tmp_path / "one" / "config.json").read_text())["train"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--calibrate"], "calibrate sets one norm for all steps, and norm is 'bntt': use --model.norm time-averaged"),
        (["--data", "digits", *MERGED, "--calibrate"], "calibrate sets norms alone and trains nothing"),
    ],
)
def test_what_cannot_be_calibrated(run, tmp_path, capsys, words, complaint):
    assert main(["finetune", str(run), *words, "--out", str(tmp_path / "one")]) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert said.count("\n") == 1
    assert not (tmp_path / "one").exists()


def drawn(folder, names, count=5):
    """Class folders of coloured pictures."""
    image = pytest.importorskip("PIL.Image")
    for number, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            image.new("RGB", (12, 8), (40 * number, 20 * index, 90)).save(folder / name / f"{index}.png")
    return str(folder)


TUNE = ["finetune", "cifar10-t4", "--data", "folder", "--train.epochs"]
LITTLE = ["--data.image-size", "8", "--device", "cpu"]


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_few_pictures_and_a_few_epochs(tmp_path, capsys, epochs):
    data = drawn(tmp_path / "photos", ("bee", "fox", "owl"))
    words = [str(epochs), "--data-dir", data, *LITTLE, "--freeze", "stem,stage1", "stage2_block1.conv1"]
    assert main([*TUNE, *words, "--out", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out
    assert "start anew: the readout (3 classes)\n" in said
    assert "samples have 8x8 pixels, cifar10-t4 was trained on 32x32: filters keep their size\n" in said
    assert "mirrored" not in said
    assert re.search(r"^frozen: stem, stage1, stage2_block1.conv1; 19,\d{3} of 27\d,\d{3} parameters$", said, re.M)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["keep_stem"]
    assert config["freeze"] == ["stem", "stage1", "stage2_block1.conv1"]
    assert config["data"]["flip"]
    assert (config["train"]["epochs"], "progressive_epochs" in config["train"]) == (epochs, False)
    old, new = sresnet.load_pretrained("cifar10-t4").state_dict(), sresnet.load(tmp_path / "run").state_dict()
    same = {name for name in new if new[name].shape == old[name].shape and torch.equal(new[name], old[name])}
    parts = ("conv1.weight", "norm1.weight", "norm1.running_mean", "norm1.running_var")
    still = ("layers.stem.", "layers.stage1_", *(f"layers.stage2_block1.{part}" for part in parts))
    assert same == {name for name in new if name.startswith(still)}


@pytest.mark.parametrize("layers", ["stage9", "readout", "stem,stage9"])
def test_toml_of_what_cannot_be_frozen_is_refused_as_training_is(tmp_path, capsys, layers):
    data = drawn(tmp_path / "photos", ("bee", "fox"))
    words = [*TUNE, "1", "--data-dir", data, *LITTLE, "--freeze", layers, "--out", str(tmp_path / "run")]
    assert main(words) == 2
    refused = capsys.readouterr().err
    assert main([*words, "--toml"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines()[-1] == refused.splitlines()[-1]


@pytest.mark.parametrize("words", [[], ["--data", "digits-dvs"]], ids=["its own data", "other data"])
def test_a_converted_network_does_not_train_on(tmp_path, capsys, words):
    pytest.importorskip("sklearn")
    ann, out = train_tiny(tmp_path / "ann", "--model.neuron", "relu", "--model.num-steps", "1"), str(tmp_path / "out")
    assert main(["convert", str(ann), "--method", "deng", "--num-steps", "4", "--out", str(tmp_path / "made")]) == 0
    capsys.readouterr()
    assert main(["finetune", str(tmp_path / "made"), *words, "--out", out]) == 2
    assert (
        "made was converted from an ANN, which does not train on: fine-tune the ANN and convert that"
        in capsys.readouterr().err
    )
    assert not Path(out).exists()


def test_its_toml_is_the_recipe_that_it_trains(tmp_path, capsys):
    pytest.importorskip("sklearn")
    words = ["finetune", "digits-t4", "--data", "folder", "--data-dir", drawn(tmp_path / "photos", ("a", "b", "c"))]
    words += [*LITTLE, "--train.epochs", "1", "--keep-stem"]
    assert main([*words, "--toml"]) == 0
    said = capsys.readouterr()
    (tmp_path / "mine.toml").write_text(said.out)
    assert "start anew" in said.err
    assert main([*words, "--out", str(tmp_path / "tuned")]) == 0
    again = ["train", str(tmp_path / "mine.toml"), "--data-dir", str(tmp_path / "photos"), "--device", "cpu"]
    assert main([*again, "--out", str(tmp_path / "trained")]) == 0
    for name in ("config.json", "weights.safetensors"):
        assert (tmp_path / "tuned" / name).read_bytes() == (tmp_path / "trained" / name).read_bytes()
    assert "start anew: the readout (3 classes)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("names", "folder", "flags", "flip"),
    [
        (("0", "1"), "photos", [], False),
        (("0", "1"), "photos", ["--data.flip"], True),
        (("ash", "oak"), "my-letters", [], False),
        (("ash", "oak"), "photos", ["--data.no-flip"], False),
        (("ash", "oak"), "photos", [], True),
    ],
)
def test_digits_and_letters_are_not_mirrored(tmp_path, capsys, names, folder, flags, flip):
    data = drawn(tmp_path / folder, names)
    assert main([*TUNE, "1", "--data-dir", data, *LITTLE, *flags, "--toml"]) == 0
    said = capsys.readouterr()
    assert f"flip = {'true' if flip else 'false'}" in said.out
    line = "samples are not mirrored, as they are of digits or letters: --data.flip mirrors them\n"
    assert (line in said.err) == (not flip and not flags)


def test_training_on_mirrored_digits_says_so(tmp_path, capsys):
    command = [
        "train",
        "folder",
        "--data-dir",
        drawn(tmp_path / "photos", ("0", "1"), 10),
        *LITTLE,
        "--max-minutes",
        "0",
    ]
    small = ["--model.depth", "8", "--model.base-filters", "2", "--train.batch-size", "4"]
    assert main([*command, *small, "--out", str(tmp_path / "run")]) == 0
    assert (
        "note: samples are mirrored at random, and are of digits or letters: --data.no-flip" in capsys.readouterr().out
    )
    assert main([*command, *small, "--data.no-flip", "--out", str(tmp_path / "other")]) == 0
    assert "are mirrored" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "keeps", "line"),
    [
        ([], False, "the stem's convolution (1 channel, and cifar10-t4 has 3): --keep-stem keeps its filters\n"),
        (["--keep-stem"], True, "the stem's filters are made for 1 channel, and cifar10-t4 has 3: sums over these"),
        (["--no-keep-stem"], False, "the stem's convolution (1 channel, and cifar10-t4 has 3)\n"),
    ],
)
def test_what_becomes_of_a_stem_for_other_channels(capsys, flags, keeps, line):
    pytest.importorskip("sklearn")
    assert main(["finetune", "cifar10-t4", "--data", "digits", *flags, "--toml"]) == 0
    said = capsys.readouterr()
    assert line in said.err
    assert ("keep_stem = true" in said.out) == keeps
    assert "in_channels = 1\n" in said.out
    assert "samples have 8x8 pixels, cifar10-t4 was trained on 32x32" in said.err
