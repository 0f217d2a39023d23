"""Training that diverges stops in the step in which it does, whatever overflows, and leaves nothing behind that did."""

import dataclasses
import json
import math

import pytest
import torch

import sresnet
from sresnet import UserError
from sresnet.cli import main
from sresnet.models.saved import save_model
from sresnet.models.tensors import not_finite, read_tensors
from sresnet.ops.dispatch import implementation
from sresnet.train import loop, record
from sresnet.train.checkpoint import tensors_of_run
from sresnet.train.evaluate import evaluate, spike_rates
from sresnet.train.loop import Run, train
from sresnet.train.record import CHECKPOINT
from tests.train.test_loop import CPU, SPLITS, TINY, changed, final

STEPS = 15
"""Of a run of TINY: three epochs of five."""


def spoiling(name, at, value):
    """A `Run` in which one number is replaced after training step `at`, counted from 0."""

    class Spoilt(Run):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            real = self.optimiser.step

            def step():
                real()
                if self.position.step == at:
                    with torch.no_grad():
                        tensor = tensors_of_run(self.model, self.optimiser, self.average)[name]
                        tensor[(-1,) * tensor.ndim] = value

            self.optimiser.step = step

    return Spoilt


@pytest.mark.parametrize(
    ("name", "value", "at"),
    [
        ("model/layers.stage2_block1.conv2.weight", math.nan, 7),
        ("model/layers.stem.norm.weight", math.inf, STEPS - 1),
        ("model/layers.stem.neuron.leak_logit", math.nan, 3),
        ("model/layers.stage1_block1.norm1.running_var", math.inf, 0),
        ("model/layers.stage3_block1.skip.norm.running_mean", -math.inf, STEPS - 1),
        ("model/readout.linear.weight", math.nan, STEPS - 1),
        ("average/readout.linear.weight", math.inf, 4),
        ("average/layers.stem.norm.running_var", math.nan, STEPS - 1),
        ("momentum/3", math.nan, 8),
        ("momentum/0", math.inf, STEPS - 1),
    ],
)
def test_overflow_stops_at_its_step_and_the_last_checkpoint_is_good(tmp_path, monkeypatch, name, value, at):
    with monkeypatch.context() as patched:
        patched.setattr(loop, "Run", spoiling(name, at, value))
        with pytest.raises(
            UserError, match=rf"{name} is not finite at step {at + 1} \(epoch {at // 5 + 1}\): try a"
        ) as caught:
            train(TINY, SPLITS, tmp_path, device=CPU, checkpoint_seconds=0)
    saved = "the last checkpoint in {} is kept" if at else "there was no checkpoint yet in {}"
    assert str(caught.value).endswith(saved.format(tmp_path))
    assert_nothing_bad(tmp_path, at)


@pytest.mark.parametrize(
    ("name", "value", "at"),
    [
        ("model/layers.stage2_block1.conv2.weight", math.nan, 2),
        ("model/layers.stem.norm.weight", math.inf, STEPS - 1),
        ("model/layers.stem.neuron.leak_logit", math.nan, 6),
        ("momentum/3", math.nan, 8),
    ],
)
def test_overflow_that_is_read_later_is_of_its_step(tmp_path, monkeypatch, name, value, at):
    """Other numbers may have overflowed in between, and be named; no checkpoint is made of them."""
    with monkeypatch.context() as patched:
        patched.setattr(loop, "Run", reading_later(spoiling(name, at, value)))
        with pytest.raises(UserError, match=rf" is not finite at step {at + 1} \(epoch {at // 5 + 1}\): try a"):
            train(TINY, SPLITS, tmp_path, device=CPU)
    assert_nothing_bad(tmp_path, at // 5 * 5)


def reading_later(run, steps=50):
    """A `Run` that leaves the numbers of so many steps on the device, as on an accelerator."""

    class Later(run):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.steps_unread = steps

    return Later


def assert_nothing_bad(folder, steps):
    """A folder of a run that diverged after so many good steps: it holds them and no more, and goes on from there."""
    assert not {record.RESULT, "weights.safetensors"} & {path.name for path in folder.iterdir()}
    assert (folder / CHECKPOINT).exists() == (steps > 0)
    if steps:
        tensors, metadata = read_tensors(folder / CHECKPOINT, ("position",))  # which refuses NaN
        assert json.loads(metadata["position"])["step"] == steps
        assert len(tensors) >= 30
    for path in folder.glob("*.json*"):
        for line in path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]:
            json.loads(line, parse_constant=pytest.fail)


def test_a_run_goes_on_from_before_the_overflow(tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(loop, "Run", spoiling("model/layers.stem.conv.weight", 7, math.nan))
        with pytest.raises(UserError, match="at step 8"):
            train(TINY, SPLITS, tmp_path / "spoilt", device=CPU, checkpoint_seconds=0)
    for folder in ("spoilt", "whole"):
        train(TINY, SPLITS, tmp_path / folder, device=CPU)
    assert final(tmp_path / "spoilt") == final(tmp_path / "whole")


@pytest.mark.parametrize("engine", ["fastest", "reference"])
@pytest.mark.parametrize(("neuron", "weight"), [("lif", 3e38), ("lif", -3e38), ("relu", -3e38)])
def test_potentials_that_overflow(tmp_path, monkeypatch, neuron, weight, engine):
    """With finite weights: spikes hide it, so that the loss is finite."""
    recipe = dataclasses.replace(TINY, model=dataclasses.replace(TINY.model, norm="none", neuron=neuron))
    with monkeypatch.context() as patched, implementation(engine):

        class Spoilt(Run):
            def step(self, indices):
                if self.position.step == 3:
                    with torch.no_grad():
                        self.model.layers["stage1_block1"].conv1.weight.fill_(weight)
                        self.model.layers["stem"].conv.weight.fill_(1.0)
                super().step(indices)

        patched.setattr(loop, "Run", Spoilt)
        with pytest.raises(
            UserError, match=r"potentials of stage1_block1.neuron1 are not finite at step 4 \(epoch 1\)"
        ):
            train(recipe, SPLITS, tmp_path, device=CPU, checkpoint_seconds=0)
    assert_nothing_bad(tmp_path, 3)


@pytest.mark.parametrize(("validation", "part"), [(SPLITS.validation, "validation"), (None, "test")])
def test_scores_that_overflow_after_the_last_step(tmp_path, monkeypatch, validation, part):
    splits = dataclasses.replace(SPLITS, validation=validation)
    with monkeypatch.context() as patched:
        patched.setattr(loop, "Run", spoiling("average/readout.linear.weight", STEPS - 1, 3e38))
        with pytest.raises(UserError, match=rf"{part} scores of sample \d+ are not finite: .* at step 15 \(epoch 3\)"):
            train(changed(ema=0.9), splits, tmp_path, device=CPU, checkpoint_seconds=0)
    assert record.RESULT not in {path.name for path in tmp_path.iterdir()}


def test_the_command(tmp_path, capsys):
    fields = "--model.base-filters 2 --model.num-steps 2 --data.train-images 300 --train.epochs 9".split()
    command = ["train", "digits", *fields, "--train.learning-rate", "1000", "--out", str(tmp_path / "run")]
    for _ in range(2):
        assert main(command) == 2
        assert "--train.learning-rate or --train.clip-norm 1; the last checkpoint in" in capsys.readouterr().err
        assert (tmp_path / "run" / CHECKPOINT).exists()
    assert main(["report", str(tmp_path / "run")]) == 0
    assert "nan" not in (tmp_path / "run" / "report.html").read_text().lower().split("<svg")[0]


def test_what_is_not_finite_is_not_saved(tmp_path):
    model = sresnet.create_model("sresnet8", base_filters=2, num_steps=2)
    with torch.no_grad():
        model.layers["stem"].norm.running_var[1, 0] = math.nan
    with pytest.raises(UserError, match=r"'layers.stem.norm.running_var' holds NaN or infinity, so nothing is saved"):
        save_model(model, tmp_path / "weights.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_large_finite_numbers_are_finite():
    large = {"a": torch.tensor([3e38, 3e38]), "b": torch.arange(3)}
    assert not_finite(large) == ""
    assert not_finite(large | {"c": torch.tensor(math.nan)}) == "c"
    assert not_finite({}) == ""


def test_spike_rates_of_potentials_that_overflow():
    model = sresnet.create_model("sresnet8", base_filters=2, num_steps=2, norm="none")
    with torch.no_grad():
        model.layers["stem"].conv.weight.fill_(3e38)
    with pytest.raises(UserError, match="potentials of stem.neuron are not finite"):
        spike_rates(model, torch.ones(2, 3, 8, 8))


def test_evaluation_names_the_sample_and_puts_the_mode_back():
    model = sresnet.create_model("sresnet8", base_filters=2, num_steps=2, in_channels=1, num_classes=4).train()

    def scaling(images):
        x = images.float()
        x[7:8] = math.nan
        return x

    with pytest.raises(UserError, match="scores of sample 7 are not finite"):
        evaluate(model, SPLITS.test, scaling)
    assert model.training


def test_numbers_of_several_types_are_looked_at():
    mixed = {"half": torch.full((9,), 6e4, dtype=torch.float16), "double": torch.ones(2, dtype=torch.float64)}
    assert not_finite(mixed | {"single": torch.ones(3)}) == ""
    assert not_finite(mixed | {"single": torch.tensor([1.0, -math.inf])}) == "single"
