import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sresnet import UserError, create_model
from sresnet.convert import tandem_coded
from sresnet.data import DataConfig, open_data
from sresnet.data.scaling import make_scaling
from sresnet.models.saved import tensors_of
from sresnet.models.tensors import read_tensors, tensors_to_bytes
from sresnet.ops.tandem import tandem
from sresnet.train.tandem import CHECKPOINT, TandemConfig, TandemRun, _hybrid, _percentile
from tests.golden.zoo.reduce import read

FULL = Path(__file__).parents[1] / "golden" / "zoo" / "wu_ptl_vgg11.npz"


def test_counts_go_forward_and_the_anns_gradient_back():
    activations, counts = torch.rand(3, 4, requires_grad=True), torch.randint(0, 5, (3, 4)).float().requires_grad_()
    given = tandem(activations, counts)
    assert torch.equal(given, counts)
    weights = torch.randn(3, 4)
    (weights * given).sum().backward()
    assert torch.equal(activations.grad, weights)
    assert counts.grad is None
    with pytest.raises(UserError, match="give one each"):
        tandem(activations, counts[:1])


def wu(stored):
    """The authors' network with the weights of the golden file, in float64, and its layers' names in theirs."""
    info = json.loads(str(stored["info"]))
    ann = create_model("wu-vgg11", dropout=0.0).double()
    values = {
        name: torch.from_numpy(mean + std * np.random.RandomState(info["seed"] + i).standard_normal(shape))
        for i, (name, shape, _, mean, std) in enumerate(info["params"])
    }
    ours = {}
    for name in values:
        layer, _, rest = name.partition(".")
        part, _, kind = rest.rpartition(".")
        if layer == "fc11":
            key = f"readout.linear.{kind}"
        else:
            step = layer if layer.startswith("conv") else f"fc{int(layer[2:]) - 8}"
            key = f"layers.wiring.steps.{step}{'_norm' if part == '1' else ''}.{kind}"
        ours[name] = key
    parameters = dict(ann.named_parameters())
    assert set(ours.values()) == set(parameters)
    for name, key in ours.items():
        parameters[key].data.copy_(values[name])
    return ann, {name: parameters[key] for name, key in ours.items()}


@pytest.fixture(scope="module")
def stored():
    """The golden file, and the images x, from a stream of NumPy's that is frozen."""
    return read(FULL) | {"x": np.random.RandomState(29).standard_normal((4, 3, 32, 32))}


@pytest.mark.parametrize("stage", [0, 3])
def test_golden(stored, stage):
    """Progressive tandem learning of the authors' code: one and four spiking layers."""
    info = json.loads(str(stored["info"]))
    ann, parameters = wu(stored)
    x, num_steps = torch.from_numpy(stored["x"]), info["T"]
    names = [step.name for step in ann.layers["wiring"].order if step.kind == "neurons"]
    norms = [module for name, module in ann.named_modules() if name.endswith("_norm")]
    with torch.no_grad():  # running averages of one pass, as there
        for norm in norms:
            norm.momentum = 1.0
        _hybrid(ann.train(), x, {}, num_steps)
        for norm in norms:
            norm.momentum = 0.9
    thresholds = dict(zip(names[: stage + 1], stored["thresholds"].tolist(), strict=False))
    with torch.no_grad():
        fired = []
        scores = _hybrid(ann.eval(), x, thresholds, num_steps, fired).log_softmax(1)
    torch.testing.assert_close(scores, torch.from_numpy(stored[f"logits_eval_{stage}"]), rtol=0, atol=1e-9)
    counted = np.array([spikes.flatten(1).sum(1).numpy() for spikes in fired])
    assert (counted == stored[f"spikes_per_step_{stage}"]).all()
    scores = _hybrid(ann.train(), x, thresholds, num_steps).log_softmax(1)
    torch.testing.assert_close(scores.detach(), torch.from_numpy(stored[f"logits_train_{stage}"]), rtol=0, atol=1e-9)
    loss = F.cross_entropy(scores, torch.tensor(info["labels"]))
    assert loss.item() == pytest.approx(float(stored[f"loss_{stage}"]), abs=1e-9)
    loss.backward()
    names = json.loads(str(stored[f"names_{stage}"]))
    assert len(names) > 8
    for name, norm, head in zip(names, stored[f"gradnorm_{stage}"], stored[f"gradhead_{stage}"], strict=True):
        layer, _, rest = name.partition(".")
        gradient = parameters[f"{layer}.{rest.replace('conv2d.', '0.').replace('bn2d.', '1.')}"].grad
        if norm < 1e-10:  # a bias before a norm
            continue
        assert float(gradient.norm()) == pytest.approx(norm, rel=1e-8)
        assert np.abs(gradient.flatten()[:8].numpy() - head).max() <= 1e-8 * norm


def test_thresholds_are_percentiles_of_the_anns_activations(stored):
    info = json.loads(str(stored["info"]))
    ann, _ = wu(stored)
    x = torch.from_numpy(stored["x"])
    norms = [module for name, module in ann.named_modules() if name.endswith("_norm")]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = 1.0
        _hybrid(ann.train(), x, {}, info["T"])
        units = {}
        _hybrid(ann.eval(), x, {}, info["T"], units=units)
    found = [_percentile(each, 99.9) / info["T"] for each in units.values()]
    assert found == pytest.approx(stored["thresholds"].tolist(), rel=1e-6)


def test_percentile():
    values = torch.randn(1001, generator=torch.Generator().manual_seed(0))
    for percentile in (99.9, 100.0, 37.3, 1e-9):
        assert _percentile(values, percentile) == pytest.approx(np.percentile(values.numpy(), percentile), rel=1e-5)


TINY = TandemConfig(num_steps=4, epochs=30, patience=1, stage_epochs=2, batch_size=50)


@pytest.fixture(scope="module")
def digits():
    data = DataConfig(name="digits", validation=0.2, train_images=300, flip=False, crop_padding=0)
    splits = open_data(data, "", seed=0, num_steps=1)
    return data, splits, make_scaling(data, splits.train)


def small_ann():
    torch.manual_seed(0)
    return create_model("wu-vgg11", width=0.05, in_channels=1, image_size=16, dropout=0.0)


def run_of(digits, folder, config=TINY, ann=None):
    """Digits of 16x16 pixels, which this network halves four times."""
    data, splits, scaling = digits

    def scaled(x):
        return scaling(x).repeat_interleave(2, -1).repeat_interleave(2, -2)

    return TandemRun(ann or small_ann(), data, splits, scaled, config, folder, seed=0, device=torch.device("cpu"))


@pytest.mark.parametrize("schedule", ["paper", "released-code"])
def test_layers_become_spiking_one_after_the_other(digits, tmp_path, schedule):
    seen = []
    run = run_of(digits, tmp_path, replace(TINY, schedule=schedule))
    first = {name: tensor.clone() for name, tensor in tensors_of(run.ann).items()}

    assert run.go(lambda epoch: seen.append(epoch.spiking))
    assert seen[0] in (1, 2)
    assert all(later - earlier in (0, 1) for earlier, later in zip(seen, seen[1:], strict=False))
    assert len(run.position.thresholds) == len(run.names) == 10
    for name in ("layers.wiring.steps.conv1.weight", "readout.linear.weight"):
        assert not torch.equal(first[name], tensors_of(run.ann)[name])
    network = tandem_coded(run.ann, run.position.thresholds, TINY.num_steps)
    x = run.scaling(run.held_out.batch(torch.arange(20)))
    with torch.no_grad():
        wanted = _hybrid(run.ann.eval(), x, run.position.thresholds, TINY.num_steps)
        torch.testing.assert_close(network(x), wanted, rtol=1e-4, atol=1e-4)


def test_it_goes_on_as_if_it_had_not_been_stopped(digits, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    config = replace(TINY, epochs=6)
    whole = run_of(digits, tmp_path / "a", config)
    assert whole.go()
    while not run_of(digits, tmp_path / "b", config).go(should_stop=lambda: True):
        pass
    parts = run_of(digits, tmp_path / "b", config)
    assert parts.position == whole.position
    for name, tensor in tensors_of(whole.ann).items():
        assert torch.equal(tensor, tensors_of(parts.ann)[name]), name
    with pytest.raises(UserError, match="another ANN, schedule or seed"):
        run_of(digits, tmp_path / "b", replace(config, patience=3))
    another = small_ann()
    another.readout.linear.weight.data[0, 0] += 1
    with pytest.raises(UserError, match="another ANN, schedule or seed"):
        run_of(digits, tmp_path / "b", config, another)
    (tmp_path / "c").mkdir()
    run_of(digits, tmp_path / "c", config).go(should_stop=lambda: True)
    tensors, metadata = read_tensors(tmp_path / "c" / CHECKPOINT, ("tandem",))
    for name in ("model/readout.linear.weight", "average/readout.linear.weight", "adam-mean/0"):
        lacking = {key: tensor for key, tensor in tensors.items() if key != name}
        (tmp_path / "c" / CHECKPOINT).write_bytes(tensors_to_bytes(lacking, {"tandem": metadata["tandem"]}))
        with pytest.raises(UserError, match="is damaged"):
            run_of(digits, tmp_path / "c", config)
    about = json.loads(metadata["tandem"])
    for wrong in ({"thresholds": {"fc1": 1.0}}, {"thresholds": {"neuron1": 0.0}}, {"epoch": -1}):
        changed = {"tandem": json.dumps(about | {"position": about["position"] | wrong})}
        (tmp_path / "c" / CHECKPOINT).write_bytes(tensors_to_bytes(tensors, changed))
        with pytest.raises(UserError, match="is damaged .no training has its position."):
            run_of(digits, tmp_path / "c", config)
    (tmp_path / "b" / CHECKPOINT).write_bytes(b"nothing")
    with pytest.raises(UserError, match="is damaged"):
        run_of(digits, tmp_path / "b", config)


def test_mistakes(digits, tmp_path):
    with pytest.raises(UserError, match="wired of steps"):
        run_of(digits, tmp_path, ann=create_model("resnet8", num_steps=1, in_channels=1))
    with pytest.raises(UserError, match="has no form for"):
        run_of(digits, tmp_path, ann=create_model("stoeckl-resnet50", width=0.1, in_channels=1))
    data, splits, scaling = digits
    with pytest.raises(UserError, match="held none out"):
        run_of((data, replace(splits, validation=None), scaling), tmp_path)
    for fields in ({"num_steps": 0}, {"patience": 0}, {"learning_rate": -1.0}, {"percentile": 0.0}):
        with pytest.raises(UserError):
            TandemConfig(**fields)
    with pytest.raises(UserError, match="has no threshold"):
        tandem_coded(small_ann(), {}, 4)
