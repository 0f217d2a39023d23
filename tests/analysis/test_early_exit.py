"""Anytime inference: the definition, and the pass that saves steps."""

import importlib.util
import json
import math

import pytest
import torch
import torch.nn.functional as F

from sresnet import UserError
from sresnet.analysis import early_exit
from sresnet.analysis.exits import (
    _calibrate,
    _confidence,
    _exit_curve,
    _exit_steps,
    _step_scores,
    evaluate_early_exit,
    mean_scores,
    run_early_exit,
)
from sresnet.cli import main
from sresnet.nn.layer import SpikingLayer
from tests.analysis.networks import batch, trained


def test_the_function_has_its_name_to_itself():
    """A module of the same name would take its place in the package, or it the module's, by the order of imports."""
    assert callable(early_exit)
    assert importlib.util.find_spec("sresnet.analysis.early_exit") is None


@pytest.fixture(scope="module")
def scores():
    """Made-up scores that become clearer with every step, [5, 200, 4], and labels."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(0, 4, (200,), generator=generator)
    outputs = torch.randn(5, 200, 4, generator=generator) + 1.2 * F.one_hot(labels, 4)
    return mean_scores(outputs), labels


def test_mean_scores_are_those_of_stopping_there():
    model = trained(num_steps=4)
    x, _ = batch(model, images=5)
    found = mean_scores(model.forward_steps(x))
    for step in range(4):
        torch.testing.assert_close(found[step], model(x, num_steps=step + 1), atol=1e-6, rtol=1e-5)


def test_exits_image_by_image(scores):
    z, labels = scores
    temperatures = torch.tensor([0.8, 1.0, 1.0, 0.5, 1.0])
    threshold = 0.8
    steps, hits = [], 0
    for image in range(len(labels)):
        for step in range(5):
            powers = [math.exp(value / float(temperatures[step])) for value in z[step, image].tolist()]
            if max(powers) / sum(powers) >= threshold or step == 4:
                steps.append(step + 1)
                hits += max(range(4), key=powers.__getitem__) == int(labels[image])
                break
    assert len(set(steps)) == 5
    assert _exit_steps(_confidence(z, temperatures), threshold).tolist() == steps
    (point,) = _exit_curve(z, labels, temperatures, [threshold])
    assert point.threshold == threshold
    assert point.mean_steps == pytest.approx(sum(steps) / 200)
    assert point.top1 == pytest.approx(100 * hits / 200)


def test_higher_thresholds_take_more_steps_between_one_and_all(scores):
    z, labels = scores
    points = _exit_curve(z, labels, torch.ones(5), [0.999999, 0.2, 0.9, 0.6])
    assert [point.threshold for point in points] == [0.2, 0.6, 0.9, 0.999999]
    steps = [point.mean_steps for point in points]
    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == (1.0, 5.0)
    right = [100 * float((each.argmax(1) == labels).double().mean()) for each in z]
    assert (points[0].top1, points[-1].top1) == pytest.approx((right[0], right[-1]))


def test_calibration_is_the_least_cross_entropy_of_each_step(scores):
    z, labels = scores
    best = _calibrate(z, labels)
    for step, temperature in enumerate(best.tolist()):
        tried = torch.linspace(math.log(0.05), math.log(20), 1001, dtype=torch.float64).exp()
        losses = torch.stack([F.cross_entropy(z[step].double() / t, labels) for t in tried])
        assert temperature == pytest.approx(float(tried[losses.argmin()]), rel=1e-2)
    torch.testing.assert_close(_calibrate(7 * z, labels), 7 * best, rtol=1e-6, atol=0)
    coldest = _calibrate(10 * F.one_hot(labels, 4).float()[None], labels)
    assert float(coldest) == pytest.approx(0.01)  # always right: as confident as can be


def test_calibrated_confidence_is_the_share_that_is_right():
    """Scores drawn so that softmax(z) is the truth, then made three times too large."""
    generator = torch.Generator().manual_seed(1)
    z = 1.5 * torch.randn(20000, 5, generator=generator)
    labels = torch.multinomial(z.softmax(1), 1, generator=generator)[:, 0]
    temperatures = _calibrate(3 * z[None], labels)
    assert float(temperatures) == pytest.approx(3, rel=0.05)
    sure = _confidence(3 * z[None], temperatures)[0]
    right = z.argmax(1) == labels
    assert float(sure.mean()) == pytest.approx(float(right.double().mean()), abs=0.01)


@pytest.mark.parametrize(
    "fields", [{}, {"connection": "v2v"}, {"neuron": "plif-shared", "skip": "spiking"}, {"norm": "tdbn"}], ids=str
)
@pytest.mark.parametrize("frames", [0, 4])
def test_the_pass_that_saves_steps_equals_the_definition(fields, frames):
    model = trained(num_steps=4, **fields)
    x, labels = batch(model, images=40, frames=frames)
    temperatures = [0.05, 0.1, 0.1, 0.2]
    z, _ = _step_scores(model, [(x, labels)])
    confidences = _confidence(z, torch.tensor(temperatures))
    threshold = float(confidences[1].median()) + 1e-4  # between two images, so that rounding decides nothing
    expected = _exit_steps(confidences, threshold)
    assert len(expected.unique()) >= 3
    with torch.inference_mode():
        found, steps = run_early_exit(model, x, threshold=threshold, temperatures=temperatures)
    assert steps.tolist() == expected.tolist()
    torch.testing.assert_close(found, z[steps - 1, torch.arange(40)], atol=1e-5, rtol=1e-4)
    (point,) = _exit_curve(z, labels, torch.tensor(temperatures), [threshold])
    batches = [(x[:15], labels[:15]), (x[15:], labels[15:])]
    exited = evaluate_early_exit(model, batches, threshold=threshold, temperatures=temperatures)
    assert (exited.top1, exited.mean_steps) == pytest.approx((point.top1, point.mean_steps))
    assert exited.left_after == tuple(torch.bincount(expected - 1, minlength=4).tolist())
    assert exited.images == 40


def test_images_that_have_left_are_not_computed():
    model = trained(num_steps=4)
    x, labels = batch(model, images=30)
    seen = []
    layer = model.layers["stem"]
    assert isinstance(layer, SpikingLayer)
    layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].spikes.shape[1]))
    temperatures = [1.0, 1.0, 0.5, 0.5]
    z, _ = _step_scores(model, [(x, labels)])
    threshold = float(_confidence(z, torch.tensor(temperatures))[0].quantile(0.8))
    seen.clear()
    _, steps = run_early_exit(model, x, threshold=threshold, temperatures=temperatures)
    assert seen == [int((steps > step).sum()) for step in range(max(steps.tolist()))]
    assert 30 < sum(seen) < 4 * 30
    seen.clear()
    run_early_exit(model, x, threshold=1e-6, temperatures=[1.0] * 4)
    assert seen == [30]


def test_one_call():
    model = trained(num_steps=3).train()
    x, labels = batch(model, images=20)
    other = batch(model, images=12)
    found = early_exit(model, [(x, labels)], calibration=[other], thresholds=[0.9, 0.5])
    assert model.training
    assert (found.images, found.calibration_images) == (20, 12)
    held_out, held_out_labels = _step_scores(model, [other])
    assert found.temperatures == tuple(_calibrate(held_out, held_out_labels).tolist())
    z, _ = _step_scores(model, [(x, labels)])
    assert found.points == _exit_curve(z, labels, torch.tensor(found.temperatures), [0.5, 0.9])
    assert found.top1_by_step == pytest.approx([5.0 * int((s.argmax(1) == labels).sum()) for s in z])
    plain = early_exit(model, [(x, labels)], num_steps=2)
    assert (plain.temperatures, plain.calibration_images) == ((1.0, 1.0), 0)
    assert plain.points[-1].mean_steps <= 2


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.5, math.nan])
def test_thresholds_out_of_range(threshold):
    model = trained()
    x, labels = batch(model)
    with pytest.raises(UserError, match="is outside \\(0, 1\\]"):
        early_exit(model, [(x, labels)], thresholds=[threshold])
    with pytest.raises(UserError, match="is outside \\(0, 1\\]"):
        run_early_exit(model, x, threshold=threshold, temperatures=[1.0])


def test_no_images():
    with pytest.raises(UserError, match="no images to analyse"):
        early_exit(trained(), [])
    with pytest.raises(UserError, match="no images to analyse"):
        evaluate_early_exit(trained(), [], threshold=0.5, temperatures=[1.0])


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two trained run folders: one that held images out, and one that did not."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs")
    fields = "--model.base-filters 3 --model.num-steps 3 --train.epochs 2".split()
    assert main(["train", "digits", *fields, "--data.validation", "0.1", "--out", str(folder / "held-out")]) == 0
    assert main(["train", "digits", *fields, "--out", str(folder / "all")]) == 0
    return folder


def test_the_command(runs, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    out = tmp_path / "curve"
    command = ["evaluate", str(runs / "held-out"), "--exit-confidence", "0.6", "--out", str(out)]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "calibrated on 145 validation images" in said
    assert {path.name for path in out.iterdir()} == {"early-exit.json", "early-exit.png", "early-exit.svg"}
    written = json.loads((out / "early-exit.json").read_text())
    assert (written["images"], written["calibration_images"], written["calibrated_on"]) == (359, 145, "validation")
    result = json.loads((runs / "held-out" / "result.json").read_text())
    assert written["top1_by_step"][-1] == pytest.approx(result["test_top1"])
    (point,) = [point for point in written["points"] if point["threshold"] == 0.6]
    ran = written["ran"]
    assert (ran["mean_steps"], ran["top1"]) == pytest.approx((point["mean_steps"], point["top1"]))
    assert 1 < ran["mean_steps"] < 3
    assert f"with exit at confidence 0.6: {ran['top1']:.2f} %\n{ran['mean_steps']:.3f} of 3 time steps" in said
    words = (out / "early-exit.svg").read_text()
    assert all(word in words for word in ("early exit", "all images at the same step", "confidence 0.6"))
    assert main(command) == 0  # its own files may be replaced
    (out / "early-exit.json").write_text("{}")
    assert main(command) == 2
    assert "is not empty (early-exit.json) and holds no early exit" in capsys.readouterr().err


def test_what_the_command_says_of_calibration(runs, capsys):
    command = ["evaluate", str(runs / "all"), "--exit-confidence", "0.9"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "confidence: as the network claims it, not calibrated\nnote: this run held no training images out" in said
    assert main([*command, "--calibrate", "train", "--precision", "int8", "--num-steps", "2"]) == 0
    said = capsys.readouterr().out
    assert "of 2 time steps" in said
    assert "calibrated on 1,438 train images" in said
    assert "warning: the network was trained on these images" in said
    assert main(["evaluate", str(runs / "held-out"), "--exit-confidence", "0.9", "--calibrate", "none"]) == 0
    said = capsys.readouterr().out
    assert "not calibrated" in said
    assert "note:" not in said


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--exit-confidence 95", "exit confidence 95 is outside (0, 1]"),
        ("--exit-confidence 0.9 --part validation", "are the same images"),
        ("--exit-confidence 0.9 --num-steps 4", "time step 4 has no norm"),
        ("--out somewhere", "--out is for the curve of --exit-confidence"),
    ],
)
def test_mistakes(runs, flags, words, capsys):
    assert main(["evaluate", str(runs / "held-out"), *flags.split()]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
