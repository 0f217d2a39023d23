import dataclasses
import json
import math
import random
import time

import pytest
import safetensors.torch
import torch

import sresnet
from sresnet import UserError
from sresnet.analysis import activity
from sresnet.cli.display import _epoch_line
from sresnet.config import from_dict, to_dict
from sresnet.data import DataConfig, EventConfig, ImageSet, Splits
from sresnet.data.augmentation import augmented
from sresnet.data.scaling import make_scaling, scaling_from_plain
from sresnet.data.transforms import shrunk
from sresnet.files import only_writer, read_json, write_json
from sresnet.models import SpikingNetwork, SResNetConfig, build, model_config
from sresnet.models.saved import tensors_of
from sresnet.randomness import order
from sresnet.train import loop, record
from sresnet.train.checkpoint import Position, _check_position
from sresnet.train.evaluate import Evaluation, evaluate, spike_rates
from sresnet.train.loop import Progress, Run, loss_of, train
from sresnet.train.optimiser import learning_rate, make_optimiser
from sresnet.train.recipe import Recipe, TrainConfig
from sresnet.train.recipes import RECIPES

CPU = torch.device("cpu")


def images(count, seed):
    """Classes told apart by which quarter of the picture is bright."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (count,), generator=generator)
    pixels = torch.randint(0, 60, (count, 1, 8, 8), generator=generator)
    for index, label in enumerate(labels.tolist()):
        row, column = divmod(label, 2)
        pixels[index, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 150
    return ImageSet(images=pixels.to(torch.uint8), labels=labels, class_names=("a", "b", "c", "d"))


SPLITS = Splits(train=images(90, 1), validation=images(20, 2), test=images(33, 3))

TINY = Recipe(
    model=SResNetConfig(
        depth=8, base_filters=2, num_steps=2, in_channels=1, num_classes=4, surrogate_height=1.0, neuron="plif"
    ),
    data=DataConfig(name="digits", flip=False, crop_padding=1, erase=0.2),
    train=TrainConfig(epochs=3, batch_size=16, learning_rate=0.1, schedule="cosine", ema=0.9),
)


def changed(recipe=TINY, **train_fields):
    return dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, **train_fields))


def test_a_default_dtype_is_no_part_of_a_recipe(tmp_path):
    torch.set_default_dtype(torch.float64)
    try:
        with pytest.raises(UserError, match=r"torch's default dtype is torch\.float64"):
            train(TINY, SPLITS, tmp_path / "run", device=CPU)
    finally:
        torch.set_default_dtype(torch.float32)
    assert not (tmp_path / "run").exists()


def test_a_run_from_start_to_end(tmp_path):
    seen = []
    outcome = train(TINY, SPLITS, tmp_path / "run", device=CPU, watch=seen.append)
    assert outcome.state == "finished"
    assert {path.name for path in outcome.folder.iterdir()} == {
        ".lock", "config.json", "environment.json", "data.json", "metrics.jsonl", "checkpoint.safetensors",
        "weights.safetensors", "result.json",
    }  # fmt: skip
    assert outcome.result["test_images"] == 33
    assert outcome.result["split"] == {"train": 90, "validation": 20, "test": 33}
    assert record.read_recipe(outcome.folder) == TINY
    metrics = record.read_metrics(outcome.folder)
    assert [line["epoch"] for line in metrics] == [1, 2, 3]
    assert [line["step"] for line in metrics] == [5, 10, 15]
    assert set(metrics[0]["leak"]) == set(metrics[0]["spike_rate"]) == set(metrics[0]["sent"])
    assert {"train_loss", "train_top1", "validation_top1", "validation_top5", "images_per_second"} <= set(metrics[0])
    assert not any("test" in name for name in metrics[0])  # test images are read once, after the last epoch
    assert [progress.step for progress in seen] == list(range(1, 16))
    assert [progress.epoch for progress in seen] == [1] * 5 + [2] * 5 + [3] * 5
    assert {(progress.epochs, progress.steps) for progress in seen} == {(3, 15)}
    assert sresnet.load(outcome.folder).config == TINY.model
    assert outcome.step == outcome.result["steps"] == 15
    again = train(TINY, SPLITS, tmp_path / "run", device=CPU, watch=pytest.fail)
    assert again.result == outcome.result


@pytest.mark.parametrize("model", [{}, {"connection": "s2m"}, {"neuron": "relu"}])
def test_spike_rates_are_those_of_the_analysis(tmp_path, model):
    recipe = dataclasses.replace(TINY, model=dataclasses.replace(TINY.model, **model))
    line = record.read_metrics(train(changed(recipe, ema=0.0), SPLITS, tmp_path, device=CPU).folder)[-1]
    few = make_scaling(recipe.data, SPLITS.train)(SPLITS.train.images[:64])
    found = activity(sresnet.load(tmp_path), [(few, SPLITS.train.labels[:64])])
    assert line["spikes_per_neuron_and_step"] == pytest.approx(found.rate, abs=1e-5)
    assert line["spike_rate"] == pytest.approx({layer.name: layer.rate for layer in found.layers}, abs=1e-5)
    assert line["sent"] == pytest.approx({layer.name: sum(layer.sent) / 2 for layer in found.layers}, abs=1e-5)
    differ = {name for name, rate in line["spike_rate"].items() if rate != line["sent"][name]}
    expected = {"": {"stage1_block1.neuron2", "stage2_block1.neuron2", "stage3_block1.neuron2"}, "s2m": set()}
    assert differ == expected.get(model.get("connection", model.get("neuron", "")), set(line["sent"]))
    assert f"firing rate {found.rate:.3f}" in _epoch_line(at_the_end_of(line))


@pytest.mark.parametrize("ema", [0.0, 0.6])
def test_the_network_that_counts_is_the_weight_average(tmp_path, ema):
    """Saved, validated, tested and asked for its spike rates; without an average the weights of the last step."""
    seen = []

    class Watched(Run):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            seen.append(self.copied())

        def copied(self):
            return {name: tensor.detach().double() for name, tensor in tensors_of(self.model).items()}

        def step(self, indices):
            super().step(indices)
            seen.append(self.copied())

    recipe = changed(ema=ema)
    result = Watched(recipe, SPLITS, tmp_path, CPU).go(lambda progress: None, lambda: False, 60.0).result
    expected, *weights = seen
    assert len(weights) == 15
    for step, now in enumerate(weights):
        d = min(ema, (1 + step) / (10 + step))
        expected = {name: d * expected[name] + (1 - d) * tensor for name, tensor in now.items()}
    saved = sresnet.load(tmp_path)
    for name, tensor in tensors_of(saved).items():
        torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-4, atol=1e-6, msg=name)
    apart = max(float((tensor - weights[-1][name]).abs().max()) for name, tensor in expected.items())
    assert (apart > 0.01) == (ema > 0)
    scaling = make_scaling(recipe.data, SPLITS.train)
    line = record.read_metrics(tmp_path)[-1]
    for part, loss in (("validation", line["validation_loss"]), ("test", result["test_loss"])):
        assert evaluate(saved, getattr(SPLITS, part), scaling, batch_size=32).loss == loss
    few = scaling(SPLITS.train.images[:64])
    assert line["sent"] == {name: round(mean, 5) for name, mean in spike_rates(saved, few).sent.items()}


def test_progress_counts_the_time_of_this_process(tmp_path):
    seen = []
    started = time.monotonic()
    train(TINY, SPLITS, tmp_path, device=CPU, watch=lambda now: seen.append((now, time.monotonic() - started)))
    for progress, seconds in seen:
        assert progress.images_per_second >= 16 * progress.step / seconds
        assert progress.seconds_left <= (15 - progress.step) / progress.step * seconds + 1e-6
    assert seen[-1][0].seconds_left == 0


def test_freed_memory_is_kept_while_training(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(loop, "keep_freed_memory", lambda: calls.append(1))
    train(changed(epochs=1), SPLITS, tmp_path, device=CPU, should_stop=lambda: True)
    assert calls == [1]


def test_a_fixed_leak_is_no_metric(tmp_path):
    fixed = dataclasses.replace(TINY, model=dataclasses.replace(TINY.model, neuron="lif"))
    assert "leak" not in record.read_metrics(train(changed(fixed, epochs=1), SPLITS, tmp_path, device=CPU).folder)[0]


def test_it_learns(tmp_path):
    recipe = changed(epochs=15, ema=0.0)
    assert train(recipe, SPLITS, tmp_path, device=CPU).result["test_top1"] > 90


def test_a_test_set_without_some_classes_counts_by_name(tmp_path):
    chosen = SPLITS.test.labels % 2 == 1  # classes b and d
    test = SPLITS.test.subset(chosen.nonzero().squeeze(1))
    short = ImageSet(images=test.images, labels=test.labels // 2, class_names=("b", "d"))
    turned = ImageSet(images=test.images, labels=1 - test.labels // 2, class_names=("d", "b"))
    recipe = changed(epochs=15, ema=0.0)
    results = [
        train(recipe, dataclasses.replace(SPLITS, test=each), tmp_path / str(number), device=CPU).result
        for number, each in enumerate((test, short, turned))
    ]
    assert results[0]["test_top1"] > 90
    assert results[0] == results[1] == results[2]


def test_a_run_does_not_go_on_with_other_data(tmp_path):
    train(TINY, SPLITS, tmp_path, device=CPU, should_stop=lambda: True)
    more = dataclasses.replace(SPLITS, train=images(120, 1))
    others = dataclasses.replace(SPLITS, train=images(90, 5))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for data, words in ((more, "90 train samples, now 120"), (others, "90 train samples, now as many others")):
        with pytest.raises(UserError, match=f"run on other data .{words}.: choose another --out"):
            train(TINY, data, tmp_path, device=CPU)
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert train(TINY, SPLITS, tmp_path, device=CPU).state == "finished"
    with pytest.raises(UserError, match="run on other data"):  # nor is its result that of others
        train(TINY, more, tmp_path, device=CPU)


def test_a_run_of_before_fingerprints_goes_on_and_gains_one(tmp_path):
    train(TINY, SPLITS, tmp_path / "whole", device=CPU)
    train(TINY, SPLITS, tmp_path / "old", device=CPU, should_stop=lambda: True)
    about = read_json(tmp_path / "old" / record.DATA)
    found = about.pop("fingerprint")
    write_json(tmp_path / "old" / record.DATA, about)
    renamed = dataclasses.replace(SPLITS.train, class_names=("a", "b", "c", "e"))
    with pytest.raises(UserError, match="classes a, b, c, d, now a, b, c, e"):
        train(TINY, Splits(train=renamed, validation=None, test=renamed), tmp_path / "old", device=CPU)
    more = dataclasses.replace(SPLITS, train=images(120, 1))
    with pytest.raises(UserError, match=r"run on other data \(mean \[0\.\d+\], now \[0\.\d+\]\)"):
        train(TINY, more, tmp_path / "old", device=CPU)
    train(TINY, SPLITS, tmp_path / "old", device=CPU)
    assert final(tmp_path / "whole") == final(tmp_path / "old")
    assert read_json(tmp_path / "old" / record.DATA)["fingerprint"] == found


def test_a_run_with_the_names_that_fields_had_once_goes_on(tmp_path, capsys):
    recipe = changed(progressive_epochs=(1,), low_res_epochs=1, muon_lr=0.01)
    train(recipe, SPLITS, tmp_path / "whole", device=CPU)
    train(recipe, SPLITS, tmp_path / "old", device=CPU, should_stop=lambda: True)
    config = record.read_json(tmp_path / "old" / record.CONFIG)
    names = {"progressive_epochs": "short_epochs", "low_res_epochs": "small_epochs", "muon_lr": "filter_rate"}
    config["train"] = {names.get(name, name): value for name, value in config["train"].items()}
    assert "short_epochs" in config["train"]
    record.write_json(tmp_path / "old" / record.CONFIG, config)
    capsys.readouterr()
    train(recipe, SPLITS, tmp_path / "old", device=CPU)
    assert capsys.readouterr() == ("", "")
    assert final(tmp_path / "whole") == final(tmp_path / "old")
    assert record._recipe_in(tmp_path / "old") == recipe


def test_damaged_weights_are_made_again_as_the_complaint_says(tmp_path):
    train(TINY, SPLITS, tmp_path, device=CPU)
    weights, result = tmp_path / "weights.safetensors", tmp_path / record.RESULT
    whole, found = weights.read_bytes(), result.read_bytes()
    weights.write_bytes(whole[:-1])
    with pytest.raises(UserError, match="by the same sresnet train, once they and result.json beside them are deleted"):
        sresnet.load(tmp_path)
    weights.unlink()
    result.unlink()
    train(TINY, SPLITS, tmp_path, device=CPU)
    assert (weights.read_bytes(), result.read_bytes()) == (whole, found)


def test_a_finished_run_of_before_fingerprints_is_not_that_of_other_data(tmp_path):
    result = train(TINY, SPLITS, tmp_path, device=CPU).result
    about = read_json(tmp_path / record.DATA)
    write_json(tmp_path / record.DATA, {name: about[name] for name in about if name != "fingerprint"})
    assert train(TINY, SPLITS, tmp_path, device=CPU).result == result
    with pytest.raises(UserError, match=r"run on other data \(mean"):
        train(TINY, dataclasses.replace(SPLITS, train=images(120, 1)), tmp_path, device=CPU)


@pytest.mark.parametrize(
    "changes",
    [
        {"class_names": None},
        {"class_names": [1]},
        {"image_size": [8]},
        {"image_size": [8, 0]},
        {"image_size": [8, "8"]},
        {"mean": "0.5"},
        {"std": []},
        {"fingerprint": 3},
        {"fingerprint": {"class_names": ["a", "b", "c", "d"]}},
    ],
    ids=str,
)
def test_damaged_data_json(tmp_path, changes):
    train(TINY, SPLITS, tmp_path, device=CPU, should_stop=lambda: True)
    about = read_json(tmp_path / record.DATA)
    write_json(tmp_path / record.DATA, about | changes)
    with pytest.raises(UserError, match=r"data\.json"):
        train(TINY, SPLITS, tmp_path, device=CPU)


TIMES = ("seconds", "images_per_second")


def final(folder):
    """What must not depend on how often a run was stopped."""
    weights = (folder / "weights.safetensors").read_bytes()
    metrics = [{k: v for k, v in line.items() if k not in TIMES} for line in record.read_metrics(folder)]
    return weights, metrics, read_json(folder / "result.json")


@pytest.mark.parametrize(
    ("encoder", "fields"),
    [
        ("direct", {}),
        ("poisson-signed", {}),
        ("direct", {"muon_lr": 0.05}),
        ("direct", {"progressive_epochs": (1,)}),
        ("direct", {"low_res_epochs": 2}),
        ("poisson-signed", {"time_segments": (2,)}),
        ("dropout", {"optimiser": "adam", "learning_rate": 0.01, "loss": "mse", "cosine_epochs": 2}),
        ("dropout", {"time_segments": (2,)}),
    ],
)
def test_stopped_anywhere_ends_the_same(tmp_path, encoder, fields):
    recipe = changed(**fields)
    if encoder == "dropout":
        small = {"width": 1 / 64, "image_size": 8, "num_steps": 2, "in_channels": 1, "num_classes": 4}
        recipe = dataclasses.replace(recipe, model=model_config("fang-cifar", **small))
    else:
        recipe = dataclasses.replace(recipe, model=dataclasses.replace(TINY.model, encoder=encoder))
    train(recipe, SPLITS, tmp_path / "whole", device=CPU)
    outcome = None
    stops = 0
    while outcome is None or outcome.state == "stopped":
        steps = []
        torch.manual_seed(stops)  # whatever the process did before must not matter
        outcome = train(
            recipe,
            SPLITS,
            tmp_path / "pieces",
            device=CPU,
            watch=steps.append,
            should_stop=lambda steps=steps: len(steps) == 1,
        )
        stops += 1
    assert stops == 8
    assert final(tmp_path / "whole") == final(tmp_path / "pieces")


def test_time_segments_of_a_run(tmp_path, monkeypatch):
    whole = train(TINY, SPLITS, tmp_path / "whole", device=CPU).result
    parts = train(changed(time_segments=(2,)), SPLITS, tmp_path / "parts", device=CPU).result
    assert parts["test_loss"] == pytest.approx(whole["test_loss"], rel=1e-3)
    seen = []
    forward_steps = SpikingNetwork.forward_steps

    def watched(self, x, **given):
        seen.append(given.get("time_segments", ()))
        return forward_steps(self, x, **given)

    monkeypatch.setattr(SpikingNetwork, "forward_steps", watched)
    longer = dataclasses.replace(TINY, model=dataclasses.replace(TINY.model, num_steps=8))
    a_byte = 16 * 576 / 1e9  # gigabytes, for each neuron of a batch; all steps at once take 48, in two parts 36
    with pytest.raises(UserError, match=r"takes .* GB in the smallest time segments"):
        train(changed(longer, time_segments="auto", step_memory=9 * a_byte), SPLITS, tmp_path / "small", device=CPU)
    assert not (tmp_path / "small").exists()
    train(changed(longer, time_segments="auto", step_memory=40 * a_byte, epochs=1), SPLITS, tmp_path / "a", device=CPU)
    assert set(seen) == {(), (2,)}
    with pytest.raises(UserError, match=r"a norm of this network takes its statistics over all time steps"):
        dataclasses.replace(changed(time_segments="auto"), model=dataclasses.replace(TINY.model, norm="time-averaged"))
    dataclasses.replace(changed(time_segments=(1,)), model=dataclasses.replace(TINY.model, norm="time-averaged"))
    for odd in ({"time_segments": (0,)}, {"step_memory": 0.0}, {"time_segments": "some"}):
        with pytest.raises(UserError):
            changed(**odd)


def test_progressive_epochs_run_the_first_time_steps(tmp_path):
    three_steps = dataclasses.replace(TINY, model=dataclasses.replace(TINY.model, num_steps=3))
    recipe = changed(three_steps, epochs=4, progressive_epochs=(1, 2))
    seen = []

    class Watched(Run):
        def step(self, indices):
            super().step(indices)
            norm = self.model.layers["stem"].norm
            seen.append((norm.weight.detach().clone(), norm.running_mean.clone(), self.progress(0, 1.0, 0, None)))

    result = Watched(recipe, SPLITS, tmp_path, CPU).go(lambda progress: None, lambda: False, 60.0).result
    assert [line["num_steps"] for line in record.read_metrics(tmp_path)] == [1, 2, 2, 3]
    # An epoch has five training steps. What has not run has not been trained but by weight decay.
    for step, ran in ((4, 1), (9, 2), (14, 2)):
        weight, mean, _ = seen[step]
        assert torch.equal(weight[ran:], weight[-1].expand_as(weight[ran:]))
        assert not torch.equal(weight[ran - 1], weight[-1])
        assert (mean[:ran] != 0).all()
    assert (seen[4][1][1:] == 0).all()
    # One step of batch norm moves the mean by a tenth, so that the new rows are near the last old one, not near zero.
    torch.testing.assert_close(seen[5][1][1], seen[4][1][0], rtol=0.2, atol=0.02)
    torch.testing.assert_close(seen[15][0][2], seen[14][0][1], rtol=0, atol=0.2)
    # 5 + 10 + 10 + 15 time steps of batches in all; after the first step of a second, 39 are left.
    assert seen[0][2].seconds_left == 39
    assert seen[-1][2].seconds_left == 0
    again = evaluate(sresnet.load(tmp_path), SPLITS.test, make_scaling(recipe.data, SPLITS.train), batch_size=32)
    assert result["test_loss"] == again.loss


def test_low_res_epochs_show_smaller_images(tmp_path):
    recipe = changed(epochs=4, low_res_epochs=3, progressive_epochs=(1,))
    (tmp_path / "whole").mkdir()
    whole = Run(changed(epochs=4), SPLITS, tmp_path / "whole", CPU)
    seen = []

    class Watched(Run):
        def batch(self, indices, step, part=None):
            x, target = super().batch(indices, step, part)
            full, _ = whole.batch(indices, step)
            assert torch.equal(x, shrunk(full) if step < 15 else full)
            seen.append(x.shape)
            return x, target

        def step(self, indices):
            super().step(indices)
            seen[-1] = (seen[-1], self.progress(0, 1.0, 0, None).seconds_left)

    result = Watched(recipe, SPLITS, tmp_path, CPU).go(lambda progress: None, lambda: False, 60.0).result
    assert [shape for shape, _ in seen] == [(16, 1, 6, 6)] * 15 + [(16, 1, 8, 8)] * 5
    lines = record.read_metrics(tmp_path)
    assert [line["small_images"] for line in lines] == [True, True, True, False]
    # Five training steps an epoch: 9/16 + 9/8 + 9/8 + 2 of full size and one time step; 9/16 the first.
    assert [left for _, left in seen][::19] == [pytest.approx(5 * (9 / 16 + 9 / 8 + 9 / 8 + 2) * 16 / 9 - 1), 0]
    again = evaluate(sresnet.load(tmp_path), SPLITS.test, make_scaling(recipe.data, SPLITS.train), batch_size=32)
    assert result["test_loss"] == again.loss
    assert "T = 1  3/4 size" in _epoch_line(at_the_end_of(lines[0]))
    assert "size" not in _epoch_line(at_the_end_of(lines[3]))


def at_the_end_of(metrics):
    times = {"images_per_second": 1.0, "seconds_left": 0.0}
    return Progress(epoch=1, epochs=4, step=5, steps=20, loss=1.0, accuracy=50.0, metrics=metrics, **times)


def test_norms_of_new_time_steps_start_as_the_last(tmp_path):
    recipe = changed(progressive_epochs=(1,))
    run = Run(dataclasses.replace(recipe, model=dataclasses.replace(TINY.model, num_steps=4)), SPLITS, tmp_path, CPU)
    before = {}
    for place, tensors in (("model", dict(run.model.state_dict())), ("average", run.average)):
        for tensor in tensors.values():
            tensor.copy_(torch.rand(tensor.shape))
        before[place] = {name: tensor.clone() for name, tensor in tensors.items()}
    run.start_norms(2, 4)
    for place, tensors in (("model", dict(run.model.state_dict())), ("average", run.average)):
        moved = set()
        for name, tensor in tensors.items():
            if not torch.equal(tensor, before[place][name]):
                moved.add(name.rpartition(".")[2])
                assert torch.equal(tensor[:2], before[place][name][:2])
                assert torch.equal(tensor[2:], tensor[1].expand(2, -1))
        assert moved == {"weight", "running_mean", "running_var"}
    run.start_norms(4, 4)


def test_seed_decides(tmp_path):
    one = train(TINY, SPLITS, tmp_path / "1", device=CPU)
    two = train(dataclasses.replace(TINY, seed=1), SPLITS, tmp_path / "2", device=CPU)
    assert final(one.folder)[0] != final(two.folder)[0]


def test_metrics_written_after_the_checkpoint_are_cut_off(tmp_path):
    train(TINY, SPLITS, tmp_path / "run", device=CPU, should_stop=lambda: True)
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 1, "half a li')
    train(TINY, SPLITS, tmp_path / "run", device=CPU)
    assert [line["epoch"] for line in record.read_metrics(tmp_path / "run")] == [1, 2, 3]


def test_another_recipe_does_not_touch_the_folder(tmp_path):
    train(TINY, SPLITS, tmp_path, device=CPU)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UserError, match="holds a run with train.epochs 3, not 4: choose another --out"):
        train(changed(epochs=4), SPLITS, tmp_path, device=CPU)
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_memory_that_nothing_keeps_to_is_no_difference(tmp_path):
    train(TINY, SPLITS, tmp_path / "plain", device=CPU)
    before = final(tmp_path / "plain")
    train(changed(step_memory=3.0), SPLITS, tmp_path / "plain", device=CPU)
    assert final(tmp_path / "plain") == before
    assert changed(step_memory=3.0).fingerprint() == TINY.fingerprint()
    with pytest.raises(UserError, match=r"holds a run with train\.time_segments none, not 2 2: choose"):
        train(changed(time_segments=(2, 2)), SPLITS, tmp_path / "plain", device=CPU)
    train(changed(time_segments="auto"), SPLITS, tmp_path / "auto", device=CPU)
    other = changed(time_segments="auto", step_memory=3.0)
    assert other.fingerprint() != changed(time_segments="auto").fingerprint()
    with pytest.raises(UserError, match=r"holds a run with train\.step_memory 2\.0, not 3\.0: choose another"):
        train(other, SPLITS, tmp_path / "auto", device=CPU)


def test_a_folder_with_something_else_in_it(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match=r"not empty \(thesis.tex\)"):
        train(TINY, SPLITS, tmp_path, device=CPU)
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_a_folder_that_another_process_writes(tmp_path):
    with only_writer(tmp_path), pytest.raises(UserError, match="in use by another process"):
        train(TINY, SPLITS, tmp_path, device=CPU)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_loss_that_is_not_finite(tmp_path):
    recipe = changed(
        dataclasses.replace(TINY, model=dataclasses.replace(TINY.model, norm="none", neuron="relu")),
        learning_rate=1e6,
        ema=0.0,
    )
    with pytest.raises(UserError, match=r"loss is (nan|inf) at step \d+ \(epoch \d\): try a lower"):
        train(recipe, SPLITS, tmp_path, device=CPU, checkpoint_seconds=0)
    with pytest.raises(UserError, match="at step"):  # from the last good checkpoint, not from a ruined one
        train(recipe, SPLITS, tmp_path, device=CPU)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"num_classes": 5}, "num_classes 5: digits has 4 classes: give --model.num-classes 4"),
        ({"in_channels": 3}, "in_channels 3: digits images have 1: give --model.in-channels 1"),
    ],
)
def test_network_must_fit_the_images(tmp_path, model, words):
    with pytest.raises(UserError, match=words):
        train(dataclasses.replace(TINY, model=dataclasses.replace(TINY.model, **model)), SPLITS, tmp_path, device=CPU)


@pytest.mark.parametrize(
    ("name", "size", "low_res_epochs", "words"),
    [
        ("kim-vgg9", 16, 0, r"maps before the fully connected layer are \[16, 4, 4\], not \[16, 2, 2\]"),
        ("wu-vgg11", 16, 0, r"maps before a fully connected layer of 32 inputs are \[32, 2, 2\]: give images of"),
        ("deng-resnet20", 16, 0, r"the readout takes 32 values of an image, and got 128: give images of the size"),
        ("fang-cifar", 32, 1, r"maps before the fully connected layer are \[16, 6, 6\], not \[16, 8, 8\]"),
    ],
)
def test_images_of_another_size_are_refused_before_there_is_a_folder(tmp_path, name, size, low_res_epochs, words):
    """Those of the epochs with small images too."""
    model = model_config(name, width=1 / 16, image_size=size, in_channels=1, num_classes=4)
    recipe = dataclasses.replace(changed(low_res_epochs=low_res_epochs), model=model)
    large = dataclasses.replace(SPLITS.train, images=SPLITS.train.images.repeat(1, 1, 4, 4))  # of 32x32 pixels
    with pytest.raises(UserError, match=words):
        train(recipe, dataclasses.replace(SPLITS, train=large), tmp_path / "run", device=CPU)
    assert not (tmp_path / "run").exists()


def test_parts_without_images_are_refused(tmp_path):
    none = SPLITS.test.subset(torch.arange(0))
    with pytest.raises(UserError, match="the validation part of digits has no images: give some, or none at all"):
        train(TINY, dataclasses.replace(SPLITS, validation=none), tmp_path, device=CPU)
    for part in ("train", "test"):
        with pytest.raises(UserError, match="digits leaves no images to train or to test on"):
            train(TINY, dataclasses.replace(SPLITS, **{part: none}), tmp_path, device=CPU)
    with pytest.raises(UserError, match="there are no images to evaluate on"):
        evaluate(build(TINY.model), none, make_scaling(TINY.data, SPLITS.train))


@pytest.mark.parametrize("part", [0.0, 0.3, 0.99])
def test_damaged_checkpoint(tmp_path, part):
    train(TINY, SPLITS, tmp_path, device=CPU, should_stop=lambda: True)
    path = tmp_path / "checkpoint.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(UserError, match="checkpoint.safetensors is damaged"):
        train(TINY, SPLITS, tmp_path, device=CPU)


def rewritten(path, change, keep_checksum=False):
    """Change {name: tensor} of a checkpoint in place; as older versions wrote them, without a checksum."""
    tensors = safetensors.torch.load_file(path)
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    change(tensors, metadata)
    if not keep_checksum:
        metadata.pop("sha256", None)
    safetensors.torch.save_file(tensors, path, metadata=metadata)


def stopped(folder, steps=7):
    """A run that was stopped in its second epoch; its checkpoint."""
    seen = []
    train(TINY, SPLITS, folder, device=CPU, watch=seen.append, should_stop=lambda: len(seen) == steps - 1)
    return folder / "checkpoint.safetensors"


def test_any_changed_byte_of_a_checkpoint_is_noticed(tmp_path):
    path = stopped(tmp_path)
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    moments = random.Random(4)
    for number in range(60):
        at = moments.randrange(header if number % 2 else len(whole))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << moments.randrange(8)]) + whole[at + 1 :])
        if whole[at : at + 1] == b" ":
            continue  # fills up the header and says nothing
        with pytest.raises(UserError, match="checkpoint.safetensors is damaged .*: delete it to train from the start"):
            Run(TINY, SPLITS, tmp_path, CPU)


def test_a_checkpoint_without_checksums_goes_on_and_gains_them(tmp_path):
    train(TINY, SPLITS, tmp_path / "whole", device=CPU)
    path = stopped(tmp_path / "run")

    def older(tensors, metadata):
        position = json.loads(metadata["position"])
        assert position.pop("metrics_checksum")
        metadata["position"] = json.dumps(position)

    rewritten(path, older)
    train(TINY, SPLITS, tmp_path / "run", device=CPU)
    assert final(tmp_path / "run") == final(tmp_path / "whole")
    with safetensors.safe_open(path, framework="pt") as file:
        assert "sha256" in file.metadata()
        assert json.loads(file.metadata()["position"])["metrics_checksum"]


def position_with(**fields):
    def change(tensors, metadata):
        metadata["position"] = json.dumps(json.loads(metadata["position"]) | fields)

    return change


DAMAGE = {
    "a weight": lambda tensors, _: tensors["model/layers.stem.conv.weight"].fill_(math.nan),
    "no weight": lambda tensors, _: tensors.pop("model/layers.stem.conv.weight"),
    "no average": lambda tensors, _: tensors.pop("average/layers.stem.conv.weight"),
    "another average": lambda tensors, _: tensors.update({"average/other": torch.zeros(1)}),
    "a momentum too many": lambda tensors, _: tensors.update({"momentum/99": torch.zeros(1)}),
    "a momentum of a name": lambda tensors, _: tensors.update({"momentum/a": torch.zeros(1)}),
    "a momentum of another shape": lambda tensors, _: tensors.update({"momentum/0": torch.zeros(1)}),
    "a momentum of integers": lambda tensors, _: tensors.update({"momentum/0": tensors["momentum/0"].int()}),
    "another part": lambda tensors, _: tensors.update({"other/a": torch.zeros(1)}),
    "no position": lambda _, metadata: metadata.pop("position"),
    "a step below zero": position_with(step=-1),
    "more hits than images": position_with(hits=10**6),
    "a sum that is not a number": position_with(loss_sum="1"),
    "half a best epoch": position_with(best_test={"top1": 3.0}),
    "a field too many": position_with(other=1),
    "a checksum of another file": lambda _, metadata: metadata.update(sha256="0" * 64),
}


def test_a_position_where_every_image_was_a_hit():
    _check_position(Position(step=1, images=16, hits=16))
    with pytest.raises(UserError, match="no run has its position"):
        _check_position(Position(step=1, images=16, hits=17))


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_checkpoint_that_no_run_wrote_is_damaged(tmp_path, kind):
    rewritten(stopped(tmp_path), DAMAGE[kind], keep_checksum="checksum" in kind)
    with pytest.raises(UserError, match="checkpoint.safetensors is damaged .*: delete it to train from the start"):
        train(TINY, SPLITS, tmp_path, device=CPU)


CHANGED_METRICS = {
    "gone": (lambda text: None, "has 0 bytes of"),
    "cut off": (lambda text: text[:-10], "has .* bytes of"),
    "a line less": (lambda text: "\n".join(text.splitlines()[1:]) + "\n" + "x" * len(text), "was changed"),
    "another digit": (lambda text: text.replace('"epoch": 1', '"epoch": 7'), "was changed"),
    "no end of a line": (lambda text: text.splitlines()[0] * 2, "was changed"),
}


@pytest.mark.parametrize("kind", CHANGED_METRICS)
def test_changed_metrics_are_noticed_before_training_goes_on(tmp_path, kind):
    change, fault = CHANGED_METRICS[kind]
    checkpoint = stopped(tmp_path).read_bytes()
    path = tmp_path / "metrics.jsonl"
    whole = path.read_text()
    path.unlink()
    if (content := change(whole)) is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=rf"metrics.jsonl {fault}.*: put it back, or delete checkpoint.safetensors"):
        train(TINY, SPLITS, tmp_path, device=CPU, watch=pytest.fail)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == checkpoint
    path.write_text(whole + "half a line of an epoch that was killed")
    assert train(TINY, SPLITS, tmp_path, device=CPU).state == "finished"
    assert [line["epoch"] for line in record.read_metrics(tmp_path)] == [1, 2, 3]


def test_metrics_that_are_a_link_are_not_followed(tmp_path):
    run = tmp_path / "run"
    checkpoint = stopped(run)
    (run / "metrics.jsonl").rename(tmp_path / "mine")
    (tmp_path / "mine").write_text((tmp_path / "mine").read_text() + "mine")
    (run / "metrics.jsonl").symlink_to(tmp_path / "mine")
    with pytest.raises(UserError, match="metrics.jsonl could not be written .it is a link"):
        train(TINY, SPLITS, run, device=CPU)
    checkpoint.unlink()
    with pytest.raises(UserError, match="metrics.jsonl could not be written .it is a link"):
        train(TINY, SPLITS, run, device=CPU)
    assert (tmp_path / "mine").read_text().endswith("mine")


def test_full_disk_keeps_the_checkpoint(tmp_path, monkeypatch):
    train(TINY, SPLITS, tmp_path, device=CPU, should_stop=lambda: True)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        train(TINY, SPLITS, tmp_path, device=CPU)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before
    monkeypatch.undo()
    assert train(TINY, SPLITS, tmp_path, device=CPU).state == "finished"


def test_best_test_epoch_is_reported_under_its_own_name(tmp_path):
    outcome = train(changed(protocol="best-test-epoch", ema=0.0), SPLITS, tmp_path, device=CPU)
    epochs = [line["test_top1_of_this_epoch"] for line in record.read_metrics(tmp_path)]
    assert outcome.result["best_test_epoch_top1"] == max(epochs)
    assert outcome.result["test_top1"] == epochs[-1]
    assert outcome.result["best_test_epoch"] == 1 + epochs.index(max(epochs))
    scaling = scaling_from_plain(read_json(tmp_path / record.DATA))
    best = evaluate(sresnet.load(tmp_path / "weights-best-test-epoch.safetensors"), SPLITS.test, scaling)
    assert best.top1 == max(epochs)


def test_the_network_of_the_best_test_epoch_is_the_average_too(tmp_path):
    train(changed(protocol="best-test-epoch", ema=0.6, epochs=1), SPLITS, tmp_path, device=CPU)
    best, last = (tmp_path / name for name in ("weights-best-test-epoch.safetensors", "weights.safetensors"))
    assert best.read_bytes() == last.read_bytes()


def test_the_best_of_test_epochs_without_a_hit_is_the_first(tmp_path, monkeypatch):
    none = Evaluation(top1=0.0, top5=0.0, loss=9.0, images=33, batch_mean_top1=0.0)
    monkeypatch.setattr(loop, "evaluate", lambda *_, **__: none)
    result = train(changed(protocol="best-test-epoch"), SPLITS, tmp_path, device=CPU).result
    assert (result["best_test_epoch"], result["best_test_epoch_top1"]) == (1, 0.0)
    assert (tmp_path / "weights-best-test-epoch.safetensors").exists()


def test_released_code_protocol(tmp_path):
    outcome = train(changed(protocol="released-code", ema=0.0), SPLITS, tmp_path, device=CPU)
    assert outcome.result["best_test_epoch_top1"] >= outcome.result["test_batch_mean_top1"]


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "digits"])
@pytest.mark.parametrize("protocol", ["released-code", "last-epoch"])
def test_the_constants_of_the_released_code_are_for_its_protocol(tmp_path, protocol, name):
    recipe = dataclasses.replace(changed(protocol=protocol), data=DataConfig(name=name))
    mean = Run(recipe, SPLITS, tmp_path, CPU).scaling.plain()["mean"]
    of_these = make_scaling(recipe.data, SPLITS.train).plain()["mean"]
    theirs = protocol == "released-code" and name != "digits"
    assert mean == (pytest.approx([0.4914, 0.4822, 0.4465]) if theirs else of_these)


def test_precisions_agree(tmp_path):
    results = [train(changed(precision=p), SPLITS, tmp_path / p, device=CPU).result for p in ("fp32", "bf16")]
    assert results[0]["test_loss"] == pytest.approx(results[1]["test_loss"], abs=0.3)
    assert results[0]["test_loss"] != results[1]["test_loss"]


def test_fine_tuning_starts_from_everything_but_stem_and_readout(tmp_path):
    source = train(changed(ema=0.0), SPLITS, tmp_path / "source", device=CPU)
    recipe = changed(
        dataclasses.replace(
            TINY, pretrained=str(source.folder), model=dataclasses.replace(TINY.model, num_classes=4, num_steps=1)
        ),
        learning_rate=0.0,
        ema=0.0,
        epochs=1,
    )
    tuned = sresnet.load(train(recipe, SPLITS, tmp_path / "tuned", device=CPU).folder)
    old, new = sresnet.load(source.folder).state_dict(), tuned.state_dict()
    for name, tensor in new.items():
        if "running" in name:
            continue
        same = torch.equal(tensor, old[name][:1] if ".norm" in name else old[name])
        assert same != (name in ("layers.stem.conv.weight", "readout.linear.weight")), name

    longer = dataclasses.replace(recipe, model=dataclasses.replace(TINY.model, num_steps=3))
    with pytest.raises(UserError, match="at most as many time steps"):
        train(longer, SPLITS, tmp_path / "longer", device=CPU)
    other = dataclasses.replace(recipe, model=dataclasses.replace(TINY.model, connection="none", num_steps=1))
    train(other, SPLITS, tmp_path / "no skip to load", device=CPU)
    deeper = dataclasses.replace(recipe, model=dataclasses.replace(TINY.model, depth=14, num_steps=1))
    with pytest.raises(UserError, match="has no 'layers.stage1_block2"):
        train(deeper, SPLITS, tmp_path / "deeper", device=CPU)


@pytest.mark.parametrize("muon_lr", [0.0, 0.05])
def test_fine_tuning_with_progressive_epochs_keeps_the_norms_of_later_steps(tmp_path, muon_lr):
    source = train(changed(ema=0.0), SPLITS, tmp_path / "source", device=CPU)
    recipe = changed(
        dataclasses.replace(TINY, pretrained=str(source.folder)),
        progressive_epochs=(2,),
        weight_decay=0.01,
        clip_norm=1.0,
        muon_lr=muon_lr,
    )
    loaded = sresnet.load(source.folder).state_dict()
    rows = []

    class Watched(Run):
        def start_norms(self, before, num_steps):
            super().start_norms(before, num_steps)
            for tensors in (tensors_of(self.model), self.average):
                for name in tensors:
                    if ".norm" in name and before < num_steps:
                        rows.append([torch.equal(tensors[name][row], loaded[name][row]) for row in (0, 1)])

    Watched(recipe, SPLITS, tmp_path, CPU).go(lambda progress: None, lambda: False, 60.0)
    assert len(rows) > 50
    assert set(map(tuple, rows)) == {(False, True)}


class TestLearningRate:
    def test_milestones_of_the_paper(self):
        config = TrainConfig(epochs=70, learning_rate=1.0)
        rates = [learning_rate(config, epoch * 10, 10) for epoch in range(70)]
        assert [round(-math.log10(rate)) for rate in rates] == [0] * 49 + [1] * 7 + [2] * 7 + [3] * 7

    def test_milestones_of_the_released_code(self):
        config = TrainConfig(epochs=70, learning_rate=1.0, protocol="released-code")
        rates = [learning_rate(config, epoch * 10, 10) for epoch in range(70)]
        assert [round(-math.log10(rate)) for rate in rates] == [0] * 50 + [1] * 7 + [2] * 7 + [3] * 6
        never = TrainConfig(epochs=90, learning_rate=1.0, protocol="released-code", milestones=(0.7,))
        assert {learning_rate(never, epoch * 10, 10) for epoch in range(90)} == {1.0}

    def test_cosine_with_warmup(self):
        config = TrainConfig(epochs=10, learning_rate=1.0, schedule="cosine", warmup_epochs=2)
        rates = [learning_rate(config, step, 5) for step in range(50)]
        assert rates[:3] == [pytest.approx(i / 11) for i in (1, 2, 3)]
        assert rates[10] == 1.0
        assert rates[30] == pytest.approx(0.5)
        assert all(a > b for a, b in zip(rates[10:], rates[11:], strict=False))
        assert 0 < rates[-1] < 0.01

    def test_drops_to_another_part(self):
        config = TrainConfig(epochs=150, learning_rate=1.0, milestones=(70 / 150, 100 / 150, 125 / 150), drop=0.2)
        rates = [learning_rate(config, epoch * 10, 10) for epoch in range(150)]
        assert rates == [0.2**0] * 70 + [0.2] * 30 + [0.2**2] * 25 + [0.2**3] * 25

    def test_a_cosine_that_goes_up_again(self):
        """As torch's CosineAnnealingLR, stepped once an epoch."""
        config = TrainConfig(epochs=20, learning_rate=0.3, schedule="cosine", cosine_epochs=6)
        optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
        theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=6)
        for epoch in range(20):
            for step in range(5):
                assert learning_rate(config, 5 * epoch + step, 5) == pytest.approx(theirs.get_last_lr()[0], abs=1e-9)
            optimiser.step()
            theirs.step()


def test_adam():
    model = build(TINY.model)
    optimiser = make_optimiser(model, TrainConfig(optimiser="adam", momentum=0.8, weight_decay=0.0, learning_rate=1e-3))
    assert isinstance(optimiser, torch.optim.Adam)
    (group,) = optimiser.param_groups
    assert (group["betas"], group["weight_decay"], group["lr"], group["peak"]) == ((0.8, 0.999), 0.0, 1e-3, 1e-3)
    assert sum(p.numel() for p in group["params"]) == sresnet.num_parameters(model)


@pytest.mark.parametrize("part", ["adam-square/0", "adam-steps/1"])
def test_a_checkpoint_of_adam_without_a_part_is_damaged(tmp_path, part):
    recipe = changed(optimiser="adam", learning_rate=0.01)
    train(recipe, SPLITS, tmp_path, device=CPU, should_stop=lambda: True)
    rewritten(tmp_path / "checkpoint.safetensors", lambda tensors, _: tensors.pop(part))
    with pytest.raises(UserError, match=r"checkpoint.safetensors is damaged \(adam (square|steps) lacks '[01]'"):
        train(recipe, SPLITS, tmp_path, device=CPU)


def test_optimiser_of_the_released_code():
    """SGD with momentum 0.9 and weight decay 1e-4 on everything, norms and leaks included."""
    model = build(TINY.model)
    optimiser = make_optimiser(model, TrainConfig())
    (group,) = optimiser.param_groups
    assert (group["momentum"], group["weight_decay"], group["nesterov"]) == (0.9, 1e-4, False)
    assert sum(p.numel() for p in group["params"]) == sresnet.num_parameters(model)
    paper = RECIPES["paper-cifar100"][1].train
    assert (paper.learning_rate, paper.batch_size, paper.epochs) == (0.0268, 21, 70)


def test_losses():
    outputs, labels = torch.randn(4, 3, 5), torch.tensor([0, 4, 2])
    per_step = loss_of(outputs, labels, TrainConfig(loss="per-step"))
    expected = torch.stack([torch.nn.functional.cross_entropy(o, labels) for o in outputs]).mean()
    torch.testing.assert_close(per_step, expected)
    mean = loss_of(outputs, labels, TrainConfig())
    torch.testing.assert_close(mean, torch.nn.functional.cross_entropy(outputs.mean(0), labels))
    smooth = loss_of(outputs, labels, TrainConfig(label_smoothing=0.1))
    assert not torch.equal(smooth, mean)
    target = torch.zeros(3, 5)
    target[[0, 1, 2], labels] = 1
    squares = (outputs.mean(0) - target) ** 2
    torch.testing.assert_close(loss_of(outputs, labels, TrainConfig(loss="mse")), squares.sum() / 15)
    torch.testing.assert_close(loss_of(outputs, labels, TrainConfig(loss="sse")), squares.sum())


@pytest.mark.parametrize("fields", [{}, {"label_smoothing": 0.1}, {"loss": "per-step"}, {"loss": "mse"}], ids=str)
def test_losses_of_shares_of_classes(fields):
    """A share of 1 is a class; cross-entropy is linear in shares, squared error has them as targets."""
    outputs, labels, others = torch.randn(4, 3, 5), torch.tensor([0, 4, 2]), torch.tensor([1, 0, 2])
    config = TrainConfig(**fields)
    own, theirs = (torch.nn.functional.one_hot(each, 5).float() for each in (labels, others))
    torch.testing.assert_close(loss_of(outputs, own, config), loss_of(outputs, labels, config))
    mixed = loss_of(outputs, 0.3 * own + 0.7 * theirs, config)
    if config.loss == "mse":
        expected = ((outputs.mean(0) - 0.3 * own - 0.7 * theirs) ** 2).mean()
    else:
        expected = 0.3 * loss_of(outputs, labels, config) + 0.7 * loss_of(outputs, others, config)
    torch.testing.assert_close(mixed, expected)


def test_order_and_augmentation_are_functions_of_seed_and_step():
    assert torch.equal(order(100, 1, 2), order(100, 1, 2))
    assert not torch.equal(order(100, 1, 2), order(100, 1, 3))
    assert torch.equal(order(100, 1, 2).sort().values, torch.arange(100))
    batch = SPLITS.train.images[:20]
    config = DataConfig(erase=0.5)
    assert torch.equal(augmented(batch, config, 0, 5), augmented(batch, config, 0, 5))
    assert not torch.equal(augmented(batch, config, 0, 5), augmented(batch, config, 0, 6))
    untouched = DataConfig(flip=False, crop_padding=0)
    assert torch.equal(augmented(batch, untouched, 0, 5), batch)


def test_pixels():
    x = make_scaling(DataConfig(), SPLITS.train)(SPLITS.train.images)
    torch.testing.assert_close(x.mean(), torch.tensor(0.0), atol=1e-4, rtol=0)
    torch.testing.assert_close(x.std(unbiased=False), torch.tensor(1.0), atol=1e-4, rtol=0)
    assert make_scaling(DataConfig(pixels="intensity"), SPLITS.train)(SPLITS.train.images).max() <= 1
    released = make_scaling(DataConfig(name="cifar100"), SPLITS.train, released_code=True)
    assert released.mean[0].item() == pytest.approx(0.4914)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_go_through_json(name):
    _, recipe = RECIPES[name]
    assert from_dict(Recipe, json.loads(json.dumps(to_dict(recipe)))) == recipe


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: TrainConfig(epochs=0), "epochs 0"),
        (lambda: TrainConfig(learning_rate=-1.0), "learning_rate -1.0"),
        (lambda: TrainConfig(learning_rate=float("nan")), "learning_rate is nan"),
        (lambda: TrainConfig(momentum=1.0), "momentum 1.0"),
        (lambda: TrainConfig(milestones=(0.5, 70.0)), "milestones"),
        (lambda: TrainConfig(schedule="step"), "schedule is 'step'"),
        (lambda: DataConfig(validation=1.0), "validation 1.0"),
        (lambda: DataConfig(erase=2.0), "erase 2.0"),
        (lambda: DataConfig(name="mnist"), "name is 'mnist'"),
        (lambda: TrainConfig(progressive_epochs=(-1,)), "below 0"),
        (lambda: TrainConfig(epochs=5, progressive_epochs=(3, 2)), "none of 5 epochs"),
        (lambda: TrainConfig(progressive_epochs=(3,), protocol="best-test-epoch"), "use 'last-epoch'"),
        (lambda: Recipe(model=SResNetConfig(num_steps=4), train=TrainConfig(progressive_epochs=(1, 1, 1))), "has 4"),
        (lambda: TrainConfig(epochs=5, low_res_epochs=5), "low_res_epochs 5 leave none of 5 epochs"),
        (lambda: TrainConfig(low_res_epochs=-1), "low_res_epochs -1"),
        (lambda: Recipe(data=EventConfig(), train=TrainConfig(low_res_epochs=1)), "not for events"),
        (lambda: Recipe(seed=-1), "seed -1"),
        (lambda: Recipe(model=SResNetConfig(encoder="poisson")), "--data.pixels intensity"),
        (lambda: Recipe(model=SResNetConfig(encoder="latency")), "encoder 'latency' takes intensities"),
        (lambda: TrainConfig(loss="mse", label_smoothing=0.1), "label_smoothing 0.1 is for cross-entropy"),
        (lambda: TrainConfig(optimiser="adam", muon_lr=0.1), "muon_lr 0.1 goes with SGD"),
        (lambda: TrainConfig(drop=0.0), "drop 0.0 is outside"),
        (lambda: TrainConfig(cosine_epochs=3), "cosine_epochs 3 counts epochs of schedule 'cosine'"),
    ],
)
def test_values_out_of_range(make, words):
    with pytest.raises(UserError, match=words):
        make()
