"""Training with frozen layers, and what fine-tuning starts from."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch

import sresnet
from sresnet import UserError
from sresnet.data import DataConfig
from sresnet.models import build
from sresnet.models.saved import save_model, tensors_of
from sresnet.train import record
from sresnet.train.finetune import finetuning, frozen_parameters, load_pretrained, other_data
from sresnet.train.loop import Run, check_fit, train
from sresnet.train.recipe import Recipe, TrainConfig
from sresnet.train.recipes import RECIPES
from tests.train.test_loop import CPU, SPLITS, TINY, changed

LONG = dataclasses.replace(TINY, model=dataclasses.replace(TINY.model, num_steps=4))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A network with statistics of its own."""
    torch.manual_seed(5)
    model = build(LONG.model)
    for buffer in model.buffers():
        buffer.copy_(torch.rand(buffer.shape) + 0.1)
    path = tmp_path_factory.mktemp("source") / "source.safetensors"
    save_model(model, path)
    return path


def tuned(source, freeze=("stem", "stage1"), **fields):
    recipe = changed(dataclasses.replace(LONG, pretrained=str(source), pretrained_layers="all", freeze=freeze))
    return changed(recipe, **({"weight_decay": 0.1, "clip_norm": 1.0} | fields))


KINDS = {
    "sgd": {},
    "adam": {"optimiser": "adam", "learning_rate": 0.01},
    "muon": {"muon_lr": 0.05},
    "parts": {"accumulate": 2},
    "segments": {"time_segments": (2, 2)},
    "few steps first": {"progressive_epochs": (1, 1)},
    "bfloat16": {"precision": "bf16"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_layers_and_their_average_stay_to_the_bit(source, tmp_path, kind):
    before = tensors_of(sresnet.load(source))
    run = Run(tuned(source, **KINDS[kind]), SPLITS, tmp_path, CPU)
    run.go(lambda progress: None, lambda: False, 60.0)
    still = ("layers.stem.", "layers.stage1_block1.")
    for tensors in (tensors_of(run.model), run.average):
        for name, tensor in tensors.items():
            assert torch.equal(tensor, before[name]) == name.startswith(still), name
    names = {id(parameter): name for name, parameter in run.model.named_parameters()}
    kept = {names[id(each)] for group in run.optimiser.param_groups for each in group["params"]}
    assert kept == {name for name in names.values() if not name.startswith(still)}
    assert all(parameter.grad is None for name, parameter in run.model.named_parameters() if name.startswith(still))


@pytest.mark.parametrize("kind", ["sgd", "adam", "segments", "parts"])
def test_it_resumes_exactly(source, tmp_path, kind):
    recipe = tuned(source, **KINDS[kind])
    whole = sresnet.load(train(recipe, SPLITS, tmp_path / "whole", device=CPU).folder).state_dict()
    steps = iter(range(100))
    for _ in range(5):  # at every third step
        train(recipe, SPLITS, tmp_path / "parts", device=CPU, should_stop=lambda: next(steps) % 3 == 2)
    assert (tmp_path / "parts" / record.RESULT).exists()
    parts = sresnet.load(tmp_path / "parts").state_dict()
    assert all(torch.equal(tensor, parts[name]) for name, tensor in whole.items())


def test_the_rest_trains_as_it_would_beside_layers_of_no_rate(source, tmp_path):
    """The first step of frozen training is that of a network whose other layers are in evaluation mode."""
    recipe = tuned(source, weight_decay=0.0, clip_norm=0.0, epochs=1)
    run = Run(recipe, SPLITS, tmp_path / "frozen", CPU)
    other = Run(dataclasses.replace(recipe, freeze=()), SPLITS, tmp_path / "other", CPU)
    for each in (run, other):
        each.model.train()
    for name in ("stem", "stage1_block1"):
        other.model.layers[name].eval()
    for each in (run, other):
        each.step(torch.arange(16))
    theirs = tensors_of(other.model)
    for name, tensor in tensors_of(run.model).items():
        if not name.startswith(("layers.stem.", "layers.stage1_block1.")):
            torch.testing.assert_close(tensor, theirs[name], rtol=1e-5, atol=1e-6)


def test_statistics_of_frozen_layers_are_not_averaged_over_processes(source, tmp_path):
    """A seventh of a number, added up seven times, need not be it."""
    run = Run(tuned(source, statistics="local"), SPLITS, tmp_path, CPU)
    run.model.train()
    before = {name: buffer.clone() for name, buffer in run.model.named_buffers()}
    run.processes = SimpleNamespace(count=7, add_up=lambda tensor: 7 * tensor)
    run.add_up_gradients()
    changed = {name for name, buffer in run.model.named_buffers() if not torch.equal(buffer, before[name])}
    assert changed
    assert not any(name.startswith(("layers.stem.", "layers.stage1_block1.")) for name in changed)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"freeze": ("stage9",)}, "freeze 'stage9': no layer is called so: choose from stem, stage1_block1"),
        ({"freeze": ("stem",)}, "the stem's convolution would start anew and stay untrained: add --keep-stem"),
        ({"freeze": ("stage1", "readout")}, "the readout starts anew, and would stay untrained"),
        (
            {"freeze": ("stem", "stage1,stage2 stage3", "readout"), "pretrained_layers": "all"},
            "freeze stem stage1 stage2 stage3 readout: nothing is left to train",
        ),
    ],
)
def test_what_cannot_be_frozen(fields, complaint):
    recipe = dataclasses.replace(TINY, pretrained="somewhere", **fields)
    with pytest.raises(UserError, match=complaint) as found:
        check_fit(recipe, SPLITS)
    assert "\n" not in str(found.value)


def test_freezing_needs_a_trained_network_that_trains_on():
    with pytest.raises(UserError, match="freeze stem: layers stay as they are in a trained network"):
        dataclasses.replace(TINY, freeze=("stem",))
    model = dataclasses.replace(TINY.model, norm="time-averaged")
    start = {"pretrained": "x", "pretrained_layers": "all", "calibrate": True, "model": model}
    with pytest.raises(UserError, match="and no --calibrate"):
        dataclasses.replace(TINY, freeze=("stem",), **start)
    sharp = dataclasses.replace(TINY.model, neuron="sharpened", num_steps=1)
    with pytest.raises(UserError, match="units of frozen layers would be sharpened"):
        Recipe(model=sharp, train=TrainConfig(sharpen_epochs=(1.0, 2.0)), pretrained="x", freeze=("stem",))


def test_names_of_layers_are_separated_by_commas_or_spaces():
    start = {"pretrained": "x", "keep_stem": True}
    first, second = (
        dataclasses.replace(TINY, freeze=names, **start) for names in (("stem,stage1",), ("stem", "stage1", "stem"))
    )
    assert first == second
    assert first.freeze == ("stem", "stage1")
    stem, stage1 = 18 + 4 + 1, 36 + 36 + 8 + 2  # filters, norms of two steps, leaks
    assert frozen_parameters(first) == (stem + stage1, 1333)


def test_a_field_without_effect_changes_no_fingerprint():
    assert dataclasses.replace(TINY, keep_stem=True).fingerprint() == TINY.fingerprint()
    whole = dataclasses.replace(TINY, pretrained="x", pretrained_layers="all")
    assert dataclasses.replace(whole, keep_stem=True).fingerprint() == whole.fingerprint()
    start = dataclasses.replace(TINY, pretrained="x")
    assert dataclasses.replace(start, keep_stem=True).fingerprint() != start.fingerprint()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_kept_stem_gives_alike_channels_the_current_it_gave(channels):
    torch.manual_seed(0)
    trained = sresnet.load_pretrained("cifar10-t4")
    model = build(dataclasses.replace(trained.config, in_channels=channels, num_classes=5)).eval()
    load_pretrained(model, "cifar10-t4", keep_stem=True)
    grey = torch.randn(2, 1, 32, 32)
    expected = trained.layers["stem"].conv(grey.expand(-1, 3, -1, -1))
    torch.testing.assert_close(model.layers["stem"].conv(grey.expand(-1, channels, -1, -1)), expected)
    if channels == 3:
        assert torch.equal(model.layers["stem"].conv.weight, trained.layers["stem"].conv.weight)
    fresh = build(dataclasses.replace(trained.config, in_channels=channels, num_classes=5))
    before = fresh.layers["stem"].conv.weight.clone()
    load_pretrained(fresh, "cifar10-t4")
    assert torch.equal(fresh.layers["stem"].conv.weight, before)


@pytest.mark.parametrize("epochs", [1, 2, 5, 20, 100])
@pytest.mark.parametrize("name", ["folder", "digits", "cifar10", "digits-dvs", "event-folder"])
def test_every_recipe_is_one_to_fine_tune_from(name, epochs, monkeypatch):
    """Whatever its curriculum, schedule, optimiser and data, and however few epochs."""
    sources = {name: recipe for name, (_, recipe) in RECIPES.items()}
    sharp = dataclasses.replace(TINY.model, neuron="sharpened", num_steps=1)
    sources["sharpened"] = Recipe(model=sharp, train=TrainConfig(sharpen_epochs=(5.0, 20.0)))
    sources["one norm"] = dataclasses.replace(TINY, model=dataclasses.replace(TINY.model, norm="time-averaged"))
    monkeypatch.setattr("sresnet.train.finetune.recipe_of", lambda source, **others: sources[source])
    for source, theirs in sources.items():
        data = other_data(name, theirs)
        channels = 2 if "d" in name and name.endswith(("dvs", "event-folder")) else 3
        recipe = finetuning(source, data, num_classes=7, in_channels=channels, epochs=epochs)
        train = recipe.train
        assert (train.epochs, train.progressive_epochs, train.low_res_epochs) == (epochs, (), 0)
        assert (train.protocol, train.precision) == ("last-epoch", "fp32")
        assert recipe.keep_stem == (channels == theirs.model.in_channels)
        assert (recipe.model.num_classes, recipe.pretrained) == (7, source)
        assert 0 < train.learning_rate <= 0.1
        kept = name == "event-folder" and theirs.data.name == name and theirs.data.flip
        assert data.flip == (name in ("folder", "cifar10") or kept)


def test_the_augmentation_is_that_of_the_new_data():
    theirs = RECIPES["fast-cifar10-wide"][1]
    theirs = dataclasses.replace(theirs, data=DataConfig(erase=0.5, policy="trivial", train_images=500, flip=False))
    assert other_data("folder", theirs) == DataConfig(name="folder")
    assert other_data("digits", theirs) == DataConfig(name="digits", flip=False, crop_padding=1)
    poisson = dataclasses.replace(theirs, data=DataConfig(pixels="intensity"))
    assert other_data("folder", poisson).pixels == "intensity"
    lee = RECIPES["lee-resnet11"][1]
    small = dataclasses.replace(lee, model=dataclasses.replace(lee.model, image_size=16))
    assert (other_data("folder", small).image_size, other_data("folder", small).crop_padding) == (16, 2)
