"""Networks that come with the package: a tiny one in a registry of the test's own, and those really shipped."""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch

import sresnet
from sresnet import UserError
from sresnet.analysis.cost import ARITHMETIC
from sresnet.cli import main
from sresnet.cli.parse import _with_current_names
from sresnet.config import from_dict
from sresnet.data.digits import load_digits
from sresnet.data.scaling import scaling_from_plain
from sresnet.models import pretrained
from sresnet.models.pretrained import card_of, load_shipped, shipped
from sresnet.train.evaluate import evaluate
from sresnet.train.recipe import Recipe
from tests.scripts import script

publish = script("tools/publish")
REALLY_SHIPPED = shipped()
CIFAR = Path(__file__).parents[3] / "shared" / "data"
RECORDS = Path(__file__).parents[2] / "results" / "campaign"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run that has been analysed."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    fields = "--model.base-filters 4 --model.num-steps 2 --train.epochs 3".split()
    assert main(["train", "digits", *fields, "--out", str(folder)]) == 0
    assert main(["analyse", str(folder), "--images", "50"]) == 0
    return folder


@pytest.fixture
def registry(run, tmp_path, monkeypatch):
    """A folder that stands for the package's own, with the run published as tiny-t2."""
    folder = tmp_path / "registry"
    folder.mkdir()
    publish.publish(run, "tiny-t2", folder)
    monkeypatch.setattr(pretrained, "SHIPPED", folder)
    monkeypatch.chdir(tmp_path)
    return folder


def test_the_card_is_what_the_run_recorded(run, registry):
    card = card_of("tiny-t2")
    result = json.loads((run / "result.json").read_text())
    assert (card.test_top1, card.test_images) == (result["test_top1"], 359)
    assert (card.model, card.data, card.seed, card.protocol) == ("sresnet8", "digits", 0, "last-epoch")
    assert card.command == "sresnet train digits --model.num-steps 2 --model.base-filters 4 --train.epochs 3"
    assert from_dict(Recipe, card.recipe) == from_dict(Recipe, json.loads((run / "config.json").read_text()))
    analysis = json.loads((run / "analysis" / "analysis.json").read_text())
    assert card.energy["additions"] == analysis["totals"]["additions"]
    assert card.energy["microjoules_float32_45nm"] == analysis["energy_microjoules"]["float32"]
    assert "data_dir" not in card.environment
    words = (registry / "tiny-t2.md").read_text()
    assert f"{result['test_top1']:.2f} % of 359 images with this file in float32" in words
    assert card.recorded_top1 is None  # the file is the run's, and so was the precision
    assert "recorded by the run" not in words
    assert card.command in words
    assert card.sha256 in words


def test_an_analysis_with_the_former_names_is_published_too(run, registry, tmp_path):
    """Until 0.1.0 the counts of the ANN counterpart were called those of a twin."""
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    path = copy / "analysis" / "analysis.json"
    path.write_text(
        path.read_text()
        .replace('"ann_multiply_accumulates":', '"twin_multiply_accumulates":')
        .replace('"ann":', '"twin":')
    )
    publish.publish(copy, "former", registry)
    new, old = card_of("tiny-t2").energy, card_of("former").energy
    assert old["ann_multiply_accumulates"] == new["ann_multiply_accumulates"] > 0
    assert old["microjoules_float32_45nm"]["ann"] == new["microjoules_float32_45nm"]["ann"]
    lines = [publish.card_lines(card_of(name)) for name in ("tiny-t2", "former")]
    assert [line for line in lines[0] if "ANN counterpart" in line] == [line for line in lines[1] if "ANN " in line]


def test_the_weights_are_those_of_the_run(run, registry):
    model, theirs = load_shipped("tiny-t2"), sresnet.load(run)
    assert not model.training
    assert model.config == theirs.config
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)


def test_create_model(run, registry):
    model = sresnet.create_model("sresnet8", pretrained="tiny-t2")
    x = torch.randn(3, 1, 8, 8)
    assert torch.equal(model(x), sresnet.load(run)(x))
    assert not model.training
    same = sresnet.create_model("sresnet8", pretrained="tiny-t2", num_steps=2, num_classes=10)
    assert torch.equal(same(x), model(x))
    other = sresnet.create_model("sresnet8", pretrained="tiny-t2", num_classes=3)
    assert other(x).shape == (3, 3)
    assert torch.equal(other.forward_features(x), model.forward_features(x))


@pytest.mark.parametrize(
    ("name", "fields", "words"),
    [
        ("sresnet20", {}, "tiny-t2 is a sresnet8, not a sresnet20"),
        ("sresnet8", {"num_steps": 4}, "num_steps 4: tiny-t2 was trained with 2"),
        ("sresnet8", {"leek": 4}, "no field 'leek': did you mean 'leak'"),
        ("sresnet8", {"compat": "released-code"}, "was trained with"),
        ("sresnet8", {"pretrained": "tiny-t3"}, "pretrained 'tiny-t3' is not shipped: did you mean 'tiny-t2'"),
    ],
)
def test_what_cannot_be_created(registry, name, fields, words):
    with pytest.raises(UserError, match=re.escape(words)):
        sresnet.create_model(name, **({"pretrained": "tiny-t2"} | fields))


def test_names_are_asked_without_reading_a_card(registry, monkeypatch):
    """A damaged card, or a slow disk, is no matter of a network that has nothing to do with it."""
    (registry / "broken.json").write_text("{")
    assert sresnet.create_model("sresnet8", num_steps=2, base_filters=4).config.num_steps == 2
    assert sresnet.load_pretrained("tiny-t2").trained.name == "tiny-t2"
    assert sresnet.create_model("tiny-t2", pretrained=True, num_classes=0).network.trained is not None
    assert pretrained.is_shipped("broken")
    assert not pretrained.is_shipped("nothing")
    assert not pretrained.is_shipped("../registry/tiny-t2")
    Path("tiny-t2").mkdir()
    assert not pretrained.is_shipped("tiny-t2")
    monkeypatch.setattr(Path, "read_text", None)
    with pytest.raises(UserError, match="model 'tiny-t3' is unknown: did you mean 'tiny-t2'"):
        sresnet.create_model("tiny-t3", pretrained=True)


def test_damaged_files_are_noticed(registry):
    weights, card = registry / "tiny-t2.safetensors", registry / "tiny-t2.json"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(UserError, match="or others: install sresnet again"):
        load_shipped("tiny-t2")
    weights.write_bytes(whole[:-4])
    with pytest.raises(UserError, match=f"are {len(whole) - 4:,} bytes, not the {len(whole):,}"):
        load_shipped("tiny-t2")
    weights.unlink()
    with pytest.raises(UserError, match="are not in the package"):
        load_shipped("tiny-t2")
    card.write_text("{")
    with pytest.raises(UserError, match=r"tiny-t2.json of the package is damaged"):
        shipped()


def test_commands_take_its_name_like_a_run(run, registry, capsys):
    for words in (["evaluate", "NAME"], ["evaluate", "NAME", "--exit-confidence", "0.5"], ["info", "NAME"]):
        said = []
        for name in ("tiny-t2", str(run)):
            assert main([name if word == "NAME" else word for word in words]) == 0
            said.append(re.sub(r"[\d,]+ images/s", "", capsys.readouterr().out))
        assert said[0] == said[1]
    assert main(["list"]) == 0
    top1 = card_of("tiny-t2").test_top1
    assert (
        f"  tiny-t2                  sresnet8, 4 filters, T = 2, trained on digits: {top1:.2f} % of 359 test images"
        in capsys.readouterr().out
    )
    assert main(["analyse", "tiny-t2", "--images", "10"]) == 0
    assert Path("analysis-tiny-t2/analysis.json").exists()


def test_finetuning_from_it_is_one_flag(run, registry, tmp_path, capsys):
    fields = "--model.base-filters 4 --model.num-steps 2 --train.epochs 1".split()
    found = {}
    for name in ("tiny-t2", str(run)):
        out = tmp_path / f"from-{Path(name).name}"
        assert main(["train", "digits", *fields, "--pretrained", name, "--out", str(out)]) == 0
        found[name] = sresnet.load(out).state_dict()
        assert json.loads((out / "config.json").read_text())["pretrained"] == name
    for name, tensor in found["tiny-t2"].items():
        assert torch.equal(tensor, found[str(run)][name])
    command = ["finetune", "tiny-t2", "--data", "digits", "--train.epochs", "1", "--out", str(tmp_path / "tuned")]
    assert main(command) == 0
    assert json.loads((tmp_path / "tuned" / "config.json").read_text())["model"]["base_filters"] == 4
    capsys.readouterr()
    assert main(["train", "digits", *fields, "--pretrained", "tiny-t9", "--out", str(tmp_path / "none")]) == 2
    assert "tiny-t9 does not exist" in capsys.readouterr().err


def test_a_folder_of_that_name_goes_before(run, registry, capsys):
    Path("tiny-t2").mkdir()
    assert main(["evaluate", "tiny-t2"]) == 2
    assert "has no weights.safetensors" in capsys.readouterr().err


def test_what_is_not_published(run, registry, tmp_path):
    with pytest.raises(UserError, match="exists: choose another name"):
        publish.publish(run, "tiny-t2", registry)

    def copy(name, **files):
        folder = tmp_path / name
        folder.mkdir()
        for path in run.glob("*.*"):
            if path.is_file():
                (folder / path.name).write_bytes(path.read_bytes())
        for file, change in files.items():
            path = folder / f"{file}.json"
            path.write_text(json.dumps(change(json.loads(path.read_text()))))
        return folder

    unfinished = copy("unfinished")
    (unfinished / "result.json").unlink()
    with pytest.raises(UserError, match="has no result.json: train it to the end"):
        publish.publish(unfinished, "new", registry)
    blind = copy("blind", result=lambda r: {k: v for k, v in r.items() if k != "test_top1"})
    with pytest.raises(UserError, match="has no test accuracy"):
        publish.publish(blind, "new", registry)
    other = copy("other", config=lambda c: c | {"model": c["model"] | {"leak": 0.5}})
    with pytest.raises(UserError, match="is of another network"):
        publish.publish(other, "new", registry)
    own = copy("own", config=lambda c: c | {"data": c["data"] | {"name": "folder"}})
    with pytest.raises(UserError, match="only runs on known data"):
        publish.publish(own, "new", registry)
    assert [path.name for path in registry.glob("new*")] == []
    plain = publish.publish(copy("not analysed"), "new", registry)
    assert "| operations, energy | not counted |" in plain[2].read_text()


def test_weights_in_half_precision(run, registry, tmp_path):
    with pytest.raises(UserError, match="held no images out"):
        publish.publish(run, "half", registry, half=True)
    folder = tmp_path / "held-out"
    fields = "--model.base-filters 4 --model.num-steps 2 --train.epochs 1 --data.validation 0.2".split()
    assert main(["train", "digits", *fields, "--out", str(folder)]) == 0
    _, _, page = publish.publish(folder, "half", registry, half=True)
    card, model, before = card_of("half"), load_shipped("half"), sresnet.load(folder)
    assert card.bytes < (folder / "weights.safetensors").stat().st_size * 0.8
    theirs = dict(before.named_parameters())
    for name, weights in model.named_parameters():
        assert weights.dtype == torch.float32
        halved = name.endswith("weight") and "norm" not in name
        assert torch.equal(weights, theirs[name].half().float() if halved else theirs[name]), name
    result = json.loads((folder / "result.json").read_text())
    assert card.rounding["held_out_top1_before"] == pytest.approx(result["validation_top1"])
    assert card.rounding["held_out_images"] == result["validation_images"]
    assert "are stored in float16; on 287 held-out images" in page.read_text()


@pytest.mark.parametrize("fields", [["--train.precision", "bf16"], ["--data.validation", "0.2"]])
def test_a_card_states_what_its_file_gives(registry, tmp_path, monkeypatch, capsys, fields):
    """Not what its run recorded, which had weights before rounding, or convolutions in bfloat16."""
    folder, half = tmp_path / "run", "--train.precision" not in fields
    words = "--model.base-filters 4 --model.num-steps 2 --train.epochs 2 --model.surrogate-height 1".split()
    assert main(["train", "digits", *words, *fields, "--out", str(folder)]) == 0
    result = json.loads((folder / "result.json").read_text())
    result["test_top1"] += 30 * 100 / 359  # as if that had decided some images otherwise
    (folder / "result.json").write_text(json.dumps(result))
    _, _, page = publish.publish(folder, "other", registry, half=half)
    card, words = card_of("other"), page.read_text()
    capsys.readouterr()
    assert main(["evaluate", "other"]) == 0
    assert f"test accuracy: {card.test_top1:.2f} %" in capsys.readouterr().out
    assert evaluate(load_shipped("other"), load_digits()[1], scaling_from_plain(card.scaling)).top1 == card.test_top1
    assert card.recorded_top1 == result["test_top1"] != card.test_top1
    first, second = (words.index(f"{top1:.2f} % of ") for top1 in (card.test_top1, card.recorded_top1))
    assert first < second
    assert f"| recorded by the run | {card.recorded_top1:.2f} % of the same images, " in words
    assert ("weights before rounding" in words, "with convolutions in bfloat16" in words) == (half, not half)
    assert main(["list"]) == 0
    said = capsys.readouterr().out
    assert f"digits: {card.test_top1:.2f} % of 359 test images" in said
    assert f"{card.recorded_top1:.2f} %" not in said


# Those that are shipped


def test_they_are_small():
    assert sum(card.bytes for card in REALLY_SHIPPED.values()) < 7e6
    folder = Path(pretrained.__file__).parent
    names = {f"{name}.{ending}" for name in REALLY_SHIPPED for ending in ("json", "md", "safetensors")}
    assert {path.name for path in folder.iterdir()} - {"__init__.py", "__pycache__"} == names


@pytest.mark.parametrize("name", REALLY_SHIPPED)
def test_cards_for_people_are_those_for_programs(name):
    card = REALLY_SHIPPED[name]
    assert (Path(pretrained.__file__).parent / f"{name}.md").read_text().splitlines() == publish.card_lines(card)
    recipe = from_dict(Recipe, card.recipe)
    assert publish.command(recipe) in " ".join(_with_current_names(recipe, card.command.split()))
    assert card.environment["revision"]
    assert "+changes" not in card.environment["revision"]


@pytest.mark.parametrize("name", REALLY_SHIPPED)
def test_each_runs_on_pictures_drawn_here(name):
    card, model = REALLY_SHIPPED[name], sresnet.create_model(REALLY_SHIPPED[name].model, pretrained=name)
    pictures = torch.randint(0, 256, (4, model.config.in_channels, *card.image_size), dtype=torch.uint8)
    with torch.inference_mode():
        scores = model(scaling_from_plain(card.scaling)(pictures))
    assert scores.shape == (4, len(card.class_names))
    assert scores.isfinite().all()


@pytest.mark.parametrize("name", REALLY_SHIPPED)
def test_the_energy_of_a_card_was_counted_on_its_file(name):
    """On test images; its parts are those of `sresnet analyse`, whose sums over operations can be done again."""
    card = REALLY_SHIPPED[name]
    energy = card.energy
    assert (energy["sha256"], energy["part"]) == (card.sha256, "test")
    assert energy["images"] == min(500, card.test_images)
    joules, float32 = energy["microjoules_float32_45nm"], ARITHMETIC["float32"]
    counted = energy["additions"] * float32.add + energy["multiply_accumulates"] * float32.multiply_accumulate
    assert joules["synapses"] == pytest.approx(counted / 1e6)
    assert card.energy_against_ann == pytest.approx((joules["synapses"] + joules["updates"]) / joules["ann"])
    ann = energy["ann_multiply_accumulates"] * float32.multiply_accumulate / 1e6
    assert joules["ann"] == pytest.approx(ann, rel=0.01)  # and the joins of skips


@pytest.mark.parametrize("name", [name for name, card in REALLY_SHIPPED.items() if card.data == "digits"])
def test_the_energy_of_a_file_is_counted_again(name, tmp_path):
    """The command that made the record gives it again, the machine's rounding apart."""
    for ending in ("json", "md", "safetensors"):
        shutil.copy(Path(pretrained.__file__).parent / f"{name}.{ending}", tmp_path)
    card = json.loads((tmp_path / f"{name}.json").read_text())
    (tmp_path / f"{name}.json").write_text(json.dumps(card | {"energy": None}))
    paths = publish.measure(name, tmp_path)
    assert [path.name for path in paths] == [f"{name}.json", f"{name}.md"]
    again = json.loads(paths[0].read_text())
    assert again.pop("energy")["microjoules_float32_45nm"] == pytest.approx(
        card.pop("energy")["microjoules_float32_45nm"], rel=1e-3
    )
    assert again == card
    assert "% of it" in paths[1].read_text()
    (tmp_path / f"{name}.safetensors").write_bytes(b"other")
    with pytest.raises(UserError, match="is not the file that its card is of"):
        publish.measure(name, tmp_path)


RIGHT = {
    "cifar10-t4": (898, 8877),
    "cifar10-wide-t2": (922, 9086),
    "cifar100-t2": (663, 6591),
    "digits-t4": (350, 350),
}
"""Name -> images that the weights as they are shipped get right in float32, of the first 1,000 and of all test images.
The data do not come with the package; these counts do."""
APART = 20
"""Images of 10,000 by which what a run recorded may differ: it was evaluated in bfloat16, and some weights are stored
in half precision; both decide a few images otherwise."""


@pytest.mark.parametrize("name", REALLY_SHIPPED)
def test_each_card_says_what_its_run_recorded(name):
    """Without the data: the number of images is whole, and is that of the committed record of the very run."""
    card = REALLY_SHIPPED[name]
    recorded = card.test_top1 if card.recorded_top1 is None else card.recorded_top1
    right = recorded * card.test_images / 100
    assert right == pytest.approx(round(right), abs=1e-9)
    assert abs(right - RIGHT[name][1]) <= APART * card.test_images / 10_000
    recipe, rows = from_dict(Recipe, card.recipe), [json.loads(path.read_text()) for path in RECORDS.glob("*.json")]
    found = [row for row in rows if from_dict(Recipe, row["config"]) == recipe]
    assert len(found) == (card.data != "digits")
    for row in found:
        assert card.environment == row["environment"]
        assert (recorded, card.test_images) == (row["result"]["test_top1"], row["result"]["test_images"])
        if card.rounding:
            before = card.rounding["held_out_top1_before"]  # in float32
            assert before == pytest.approx(row["result"]["validation_top1"], abs=0.2)


@pytest.mark.parametrize("name", REALLY_SHIPPED)
def test_each_card_says_what_the_shipped_weights_gave(name):
    """Without the data too. The row of a network in README has the same number."""
    card = REALLY_SHIPPED[name]
    assert card.test_top1 * card.test_images / 100 == pytest.approx(RIGHT[name][1], abs=1e-9)
    root = Path(__file__).parents[2]
    lines = (root / "README.md").read_text().splitlines()
    (row,) = [line for line in lines if line.startswith(f"| [`{name}`]")]
    assert row.split(" | ")[1:] == publish.readme_row(card).split(" | ")[1:]
    for path in (root / "README.md", *(root / "docs").glob("*.md")):
        for line in path.read_text().splitlines():
            if f'pretrained="{name}"' in line and "%" in line:
                assert f"{card.test_top1:.2f} %" in line


@pytest.mark.parametrize("name", REALLY_SHIPPED)
@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_the_shipped_weights_give_what_was_counted(name, count, tmp_path):
    """With the data, for which DATA_DIR may be set: on the first 1,000 test images, and where there is time on all.
    Another processor's rounding may decide one image of a thousand."""
    card, model = REALLY_SHIPPED[name], load_shipped(name)
    images = images_of(card, tmp_path)
    images = images.subset(torch.arange(min(count, len(images))))
    found = evaluate(model, images, scaling_from_plain(card.scaling)).top1 * len(images) / 100
    assert abs(found - RIGHT[name][0 if count == 1000 else 1]) <= max(1, len(images) / 1000)


def images_of(card, folder):
    if card.data == "digits":
        return load_digits()[1]
    from sresnet.data.cifar import load_cifar

    if place := os.environ.get("DATA_DIR"):
        return load_cifar(card.data, place)[1]
    if not (CIFAR / "unpack.py").exists():
        pytest.skip("the images are not here")
    import subprocess

    subprocess.run([sys.executable, str(CIFAR / "unpack.py"), str(folder), card.data], check=True, capture_output=True)
    return load_cifar(card.data, str(folder))[1]
