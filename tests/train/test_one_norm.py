"""Norms per step made one for all steps: by their average, and by currents on images that were held out."""

import dataclasses

import pytest
import torch

import sresnet
from sresnet import UserError
from sresnet.nn import BNTT, TimeAveragedNorm
from sresnet.nn.norm import affine
from sresnet.train.finetune import load_pretrained, match_currents
from sresnet.train.loop import train
from sresnet.train.recipe import Recipe
from tests.models.test_program import trained
from tests.train.test_loop import CPU, SPLITS, TINY, changed

SMALL = {"base_filters": 4, "num_steps": 3}


def norms(model):
    return [module for module in model.modules() if isinstance(module, BNTT | TimeAveragedNorm)]


def saved(model, path):
    sresnet.models.saved.save_model(model.float(), path)
    return str(path)


@pytest.mark.parametrize("layers", ["inner", "all"])
def test_a_network_starts_with_the_averages_of_norms_per_step(tmp_path, layers):
    source = trained("sresnet8", **SMALL)
    path = saved(source, tmp_path / "weights.safetensors")
    model = sresnet.create_model("sresnet8", norm="time-averaged", **SMALL)
    load_pretrained(model, path, layers=layers)
    for theirs, ours in zip(norms(source), norms(model), strict=True):
        for expected, found in zip(affine(theirs), affine(ours), strict=True):
            torch.testing.assert_close(found[0], expected.mean(0), atol=1e-5, rtol=1e-5)
    old, new = source.state_dict(), model.state_dict()
    for name in new:
        if ".norm" not in name:
            anew = layers == "inner" and name in ("layers.stem.conv.weight", "readout.linear.weight")
            assert torch.equal(new[name], old[name]) != anew, name


def currents(model, images):
    """Mean and deviation of the current behind each norm, per channel, over all steps."""
    found, hooks = [], []
    for norm in norms(model):
        hooks.append(norm.register_forward_hook(lambda _, x, y: found.append(y.movedim(2, 0).flatten(1))))
    with torch.no_grad():
        model.eval()(images)
    for hook in hooks:
        hook.remove()
    return [(each.mean(1), each.std(1, correction=0)) for each in found]


@pytest.mark.parametrize(
    "fields", [{}, {"norm_bias": True}, {"connection": "v2v", "downsample": "avg"}, {"encoder": "latency"}]
)
@pytest.mark.parametrize("norm", ["time-averaged", "tdbn"])
def test_currents_have_the_moments_that_they_have_in_the_source(norm, fields):
    source = trained("sresnet8", **SMALL, **fields).float()
    model = sresnet.create_model("sresnet8", **SMALL | fields | {"norm": norm})
    images = torch.rand(16, 3, 8, 8)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    match_currents(model, source, lambda: [images])
    assert model.training
    assert not source.training
    for (mean, std), (wanted_mean, wanted_std) in zip(currents(model, images), currents(source, images), strict=True):
        torch.testing.assert_close(mean, wanted_mean, atol=2e-3, rtol=1e-3)
        torch.testing.assert_close(std, wanted_std, atol=2e-3, rtol=1e-3)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before if ".norm" not in name)


def test_batches_of_several_sizes_count_by_their_images():
    source = trained("sresnet8", **SMALL).float()
    whole, parts = (sresnet.create_model("sresnet8", norm="time-averaged", norm_bias=True, **SMALL) for _ in range(2))
    parts.load_state_dict(whole.state_dict())
    images = torch.rand(12, 3, 8, 8)
    match_currents(whole, source, lambda: [images])
    match_currents(parts, source, lambda: images.split([8, 4]))
    for one, other in zip(norms(whole)[:1], norms(parts)[:1], strict=True):  # behind it, batches are normalised apart
        torch.testing.assert_close(one.running_mean, other.running_mean)
        torch.testing.assert_close(one.weight, other.weight)


def test_only_norms_of_all_steps_are_set():
    source = trained("sresnet8", **SMALL).float()
    for norm, depth in (("bntt", 8), ("per-step", 8), ("time-averaged", 14)):
        model = sresnet.create_model(f"sresnet{depth}", **SMALL, norm=norm)
        with pytest.raises(UserError, match="norms that are one for all time steps: use --model.norm time-averaged"):
            match_currents(model, source, lambda: [])


def test_weights_out_of_range():
    source = trained("sresnet8", **SMALL).float()
    with torch.no_grad():
        source.layers["stem"].conv.weight.fill_(torch.inf)
    with pytest.raises(UserError, match="currents of stem.norm are not finite"):
        match_currents(sresnet.create_model("sresnet8", norm="tdbn", **SMALL), source, lambda: [torch.rand(2, 3, 8, 8)])


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_run_that_calibrates_takes_no_step(tmp_path, ema):
    source = train(changed(ema=0.0), SPLITS, tmp_path / "source", device=CPU)
    model = dataclasses.replace(TINY.model, norm="time-averaged")
    start = {"pretrained": str(source.folder), "pretrained_layers": "all", "calibrate": True}
    recipe = changed(dataclasses.replace(TINY, model=model, **start), ema=ema)
    outcome = train(recipe, SPLITS, tmp_path / "one", device=CPU)
    assert (outcome.step, outcome.result["steps"], outcome.result["epochs"]) == (0, 0, 0)
    assert ("validation_top1" in outcome.result) == (SPLITS.validation is not None)
    old, new = sresnet.load(source.folder).state_dict(), sresnet.load(outcome.folder).state_dict()
    assert all(torch.equal(new[name], old[name]) for name in new if ".norm" not in name)
    assert all(new[name].ndim == 1 for name in new if ".norm" in name)
    again = train(recipe, SPLITS, tmp_path / "again", device=CPU)
    assert all(torch.equal(tensor, new[name]) for name, tensor in sresnet.load(again.folder).state_dict().items())
    assert train(recipe, SPLITS, tmp_path / "one", device=CPU).result == outcome.result


def test_what_cannot_be_calibrated():
    model = dataclasses.replace(TINY.model, norm="tdbn")
    with pytest.raises(UserError, match="start from a trained network on its own data, --pretrained RUN"):
        Recipe(model=model, calibrate=True)
    with pytest.raises(UserError, match="start from a trained network on its own data, --pretrained RUN"):
        Recipe(model=model, calibrate=True, pretrained="digits-t4")
    with pytest.raises(UserError, match="one norm for all steps, and norm is 'bntt': use --model.norm time-averaged"):
        Recipe(model=TINY.model, calibrate=True, pretrained="digits-t4", pretrained_layers="all")
