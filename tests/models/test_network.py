import copy
import json
import pickle

import pytest
import torch

import sresnet
from sresnet import UserError, create_model
from sresnet.config import from_dict, to_dict
from sresnet.models import ModelConfig, build, model_config
from sresnet.models.summary import summarise

SMALL = {"base_filters": 4, "num_steps": 3, "in_channels": 3}
VARIANTS = {
    "s2s": {},
    "s2m": {"connection": "s2m"},
    "v2v": {"connection": "v2v"},
    "none": {"connection": "none"},
    "spiking skip": {"skip": "spiking"},
    "tdbn skip": {"skip": "tdbn", "connection": "s2m"},
    "learned skip": {"skip": "learned", "connection": "s2m"},
    "bare skip": {"skip_norm": False},
    "time-averaged": {"norm": "time-averaged"},
    "tdbn": {"norm": "tdbn", "norm_bias": True},
    "per-step norm": {"norm": "per-step", "norm_bias": True, "norm_eps": 1e-5},
    "no norm": {"norm": "none"},
    "bntt with beta": {"norm_bias": True},
    "if": {"neuron": "if"},
    "plif": {"neuron": "plif"},
    "plif-shared": {"neuron": "plif-shared", "skip": "spiking"},
    "plif as published": {"neuron": "plif", "leak": 0.5, "reset": "zero", "input_scale": "one-minus-leak"},
    "reset to zero": {"reset": "zero", "detach_reset": False},
    "rectangle": {"surrogate": "rectangle"},
    "arctan": {"surrogate": "arctan", "surrogate_height": 1.0},
    "at threshold": {"fires_at_threshold": True, "threshold": 0.7},
    "reset in gradient": {"detach_reset": False},
    "boosting": {"boosting": True},
    "spiking readout": {"readout": "spikes", "readout_bias": True},
    "votes of spikes": {"readout": "spikes", "boosting": True, "neuron": "plif-shared"},
    "and": {"join": "and", "skip": "spiking"},
    "iand": {"join": "iand", "skip": "spiking"},
    "skip spikes of one": {"connection": "s2m", "skip_scale": "one", "threshold": 0.5},
    "kaiming": {"init": "kaiming"},
    "max pool": {"downsample": "max", "connection": "v2v"},
    "average pool": {"downsample": "avg"},
    "c3s2": {"stem": "c3s2"},
    "c5s2-pool": {"stem": "c5s2-pool", "connection": "v2v"},
    "paper": {"compat": "paper"},
    "released code": {"compat": "released-code"},
}


OTHERS = {
    "fang-cifar": {"width": 1 / 64, "image_size": 16, "dropout": 0.0},
    "fang-dvs": {"width": 1 / 32, "image_size": 16, "dropout": 0.0},
    "fang-wide-7b": {"width": 1 / 16},
    "zheng-resnet19": {"width": 1 / 32},
    "zheng-resnet19-64-tdbn": {"width": 1 / 32},
    "kim-vgg9": {"width": 1 / 16, "hidden": 8, "image_size": 16, "encoder": "direct"},
    "kim-vgg11": {"width": 1 / 16, "hidden": 8, "encoder": "direct"},
    "lee-resnet11": {"width": 1 / 32, "image_size": 16, "dropout": 0.0, "encoder": "direct", "threshold": 0.3},
    "sew_resnet18": {"base_filters": 4, "stem": "c3"},
    "ms_resnet18": {"base_filters": 4, "stem": "c3"},
}
"""Networks that the paper compares with, small; in training mode dropout would give another answer in every call."""


def make(variant):
    if variant in OTHERS:
        return create_model(variant, **OTHERS[variant], num_steps=3, in_channels=3, num_classes=10)
    return create_model("sresnet8", **(SMALL | VARIANTS[variant]))


@pytest.fixture(params=[*VARIANTS, *OTHERS])
def model(request):
    return make(request.param)


MODELS = {
    "resnet": lambda: create_model("resnet8", base_filters=4),
    "vgg": lambda: create_model("vgg11", width=0.06, hidden=8, num_steps=3),
}


class TestEveryNetwork:
    """What holds for any network; a new variant goes into VARIANTS."""

    def test_forward_and_backward(self, model):
        x = torch.randn(2, 3, 16, 16)
        scores = model(x)
        assert scores.shape == (2, 10)
        scores.square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())

    def test_twice_gives_the_same(self, model):
        x = torch.randn(2, 3, 16, 16)
        assert torch.equal(model(x), model(x))
        model.eval()
        assert torch.equal(model(x), model(x))

    def test_step_by_step_equals_the_whole(self, model):
        model.eval()
        frames = torch.rand(2, 3, 3, 16, 16)
        state = None
        for t in range(3):
            scores, state = model.step(frames[:, t], state)
            torch.testing.assert_close(scores, model(frames, num_steps=t + 1), atol=1e-6, rtol=1e-5)

    @pytest.mark.parametrize("odd", [float("nan"), float("inf"), float("-inf")])
    def test_an_image_that_is_not_finite_has_no_class(self, model, odd):
        """A potential that is NaN never fires, so that NaN would end there, and scores look like an answer."""
        model.eval()
        x, frames = torch.rand(3, 3, 16, 16), torch.rand(3, 3, 3, 16, 16)
        good = model(x), model(frames)
        x[1, 2, 7, 3] = frames[1, 1, 2, 7, 3] = odd
        for before, scores in zip(good, (model(x), model(frames)), strict=True):
            assert scores[1].isnan().all()
            torch.testing.assert_close(scores[[0, 2]], before[[0, 2]])
        assert model.forward_head(model.forward_features(x))[1].isnan().all()
        assert model(frames, num_steps=1).isfinite().all()  # it has not been seen yet
        state = None
        for t in range(3):
            scores, state = model.step(frames[:, t], state)
            assert scores.isnan().any(1).tolist() == [False, t > 0, False]

    def test_early_stop_is_the_beginning_of_the_long_run(self, model):
        model.eval()
        x = torch.rand(2, 3, 16, 16)
        outputs = model.forward_steps(x)
        for k in (1, 2, 3):
            left = model.readout.leak ** (3 - k)
            torch.testing.assert_close(model(x, num_steps=k) * left, outputs[:k].mean(0))

    def test_saved_and_loaded(self, model, tmp_path):
        model.train()(torch.randn(4, 3, 16, 16))  # so that running statistics are no longer what they start as
        sresnet.save_model(model, tmp_path / "weights.safetensors")
        loaded = sresnet.load(tmp_path)
        x = torch.randn(2, 3, 16, 16)
        assert torch.equal(loaded(x), model.eval()(x))
        assert loaded.config == model.config

    def test_state_dict_pickle_and_deepcopy(self, model):
        model.train()(torch.randn(4, 3, 16, 16))
        x = torch.randn(2, 3, 16, 16)
        expected = model.eval()(x)
        other = build(model.config).eval()
        other.load_state_dict(model.state_dict())
        for copied in (other, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert torch.equal(copied(x), expected)

    def test_config_goes_through_json(self, model):
        text = json.dumps(to_dict(model.config))
        assert from_dict(ModelConfig, json.loads(text)) == model.config

    def test_odd_sizes_and_one_step(self, model):
        if "flatten" in model.layers:
            pytest.skip("made for one size of images")
        assert model.eval()(torch.randn(1, 3, 13, 9), num_steps=1).shape == (1, 10)

    def test_records_explain_the_spikes(self, model):
        x = torch.randn(2, 3, 16, 16)
        scores, records = model.eval()(x, record=model.neuron_names)
        assert torch.equal(scores, model(x))
        for name, record in records.items():
            threshold = dict(model.named_neurons())[name].config.threshold
            fired = record.membrane >= threshold if model.config.fires_at_threshold else record.membrane > threshold
            assert torch.equal(record.spikes, fired.to(record.spikes.dtype))
            assert record.spikes.shape[:2] == (3, 2)


@pytest.mark.parametrize("make_other", MODELS.values(), ids=MODELS)
def test_other_families(make_other, tmp_path):
    model = make_other()
    x = torch.randn(2, 3, 32, 32)
    model(x).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    model.eval()
    sresnet.save_model(model, tmp_path / "weights.safetensors")
    assert torch.equal(sresnet.load(tmp_path)(x), model(x))
    scores, state = model.step(x)
    torch.testing.assert_close(scores, model(x, num_steps=1))
    assert state.steps == 1


def test_shared_leak_is_one_parameter():
    model = create_model("sresnet8", neuron="plif-shared", skip="spiking", **SMALL)
    leaks = {id(module.leak_logit) for _, module in model.named_neurons()}
    assert len(leaks) == 1
    per_layer = create_model("sresnet8", neuron="plif", skip="spiking", **SMALL)
    plain = create_model("sresnet8", skip="spiking", **SMALL)
    assert sresnet.num_parameters(model) == sresnet.num_parameters(plain) + 1
    assert sresnet.num_parameters(per_layer) == sresnet.num_parameters(plain) + len(model.neuron_names)
    assert all(module.leak_value() == pytest.approx(0.874) for _, module in per_layer.named_neurons())


# Tables 6 and 7: gamma only, T = 50.
@pytest.mark.parametrize(
    ("base_filters", "num_classes", "boosting", "parameters"),
    [
        (16, 10, False, 634_000),
        (16, 10, True, 639_760),
        (32, 10, False, 2_388_256),
        (32, 10, True, 2_399_776),
        (16, 100, False, 639_760),
        (16, 100, True, 697_360),
        (32, 100, False, 2_399_776),
        (32, 100, True, 2_514_976),
    ],
)
def test_parameter_counts_of_the_paper(base_filters, num_classes, boosting, parameters):
    model = create_model("sresnet38", base_filters=base_filters, num_classes=num_classes, boosting=boosting)
    assert sresnet.num_parameters(model) == parameters


def test_the_ann_counterpart_has_the_parameters_of_resnet20():
    # He et al. 2016 give 0.27 M for depth 20; here with 1x1 convolutions on the two skips and a readout without bias.
    assert sresnet.num_parameters(create_model("resnet20")) == 272_464


def test_summary_of_an_image_of_two_sides():
    summary = summarise(model_config("sresnet8", stem="c3s2"), (16, 24))
    sizes = {layer.name: layer.output[1:] for layer in summary.layers if len(layer.output) == 3}
    assert sizes["stem.conv"] == sizes["stage1_block1.conv1"] == (8, 12)
    assert sizes["stage3_block1.conv2"] == (2, 3)
    assert summary.neurons == 3 * 16 * 8 * 12 + 2 * 32 * 4 * 6 + 2 * 64 * 2 * 3


def test_summary_adds_up():
    summary = summarise(model_config("sresnet38"))
    assert summary.parameters == sum(layer.parameters for layer in summary.layers) == 634_000
    assert len([layer for layer in summary.layers if layer.kernel.startswith("3x3")]) == 37
    # Eq. 13 and after: behind the first 1x1 skip the S2S stream is real, in front of it it counts spikes.
    blocks = {layer.name: layer.input_kind for layer in summary.layers if "block" in layer.name}
    assert sum(kind == "real" for name, kind in blocks.items() if "skip" not in name) == 11
    assert blocks["stage3_block1.skip.conv"] == "real"
    assert blocks["stage2_block1.skip.conv"] == "sums of spikes"
    stem = summary.layers[0]
    assert stem.multiply_accumulates == 3 * 9 * 16 * 32 * 32
    assert summary.neurons == 13 * 16 * 1024 + 12 * 32 * 256 + 12 * 64 * 64
    for connection in ("s2m", "none"):
        layers = summarise(model_config("sresnet14", connection=connection)).layers
        assert all(layer.input_kind == "spikes" for layer in layers[1:-1])


def test_event_frames_and_images_of_constant_input_agree():
    model = create_model("sresnet8", in_channels=2, stem="c3s2", base_filters=4, num_steps=4).eval()
    x = torch.rand(2, 2, 20, 20)
    torch.testing.assert_close(model(x[:, None].expand(2, 4, 2, 20, 20)), model(x))


def test_more_steps_than_norms():
    per_step = create_model("sresnet8", **SMALL)
    with pytest.raises(UserError, match="time step 5 has no norm: this network was built for 3"):
        per_step(torch.randn(1, 3, 8, 8), num_steps=5)
    averaged = create_model("sresnet8", norm="time-averaged", **SMALL)
    assert averaged(torch.randn(1, 3, 8, 8), num_steps=5).shape == (1, 10)
    state = None
    for _ in range(3):
        _, state = per_step.step(torch.randn(1, 3, 8, 8), state)
    with pytest.raises(UserError, match="time step 4 has no norm"):
        per_step.step(torch.randn(1, 3, 8, 8), state)


def test_poisson_is_random_but_seeded():
    model = create_model("sresnet8", encoder="poisson", **SMALL).eval()
    x = torch.rand(2, 3, 8, 8)
    torch.manual_seed(1)
    first = model(x)
    assert not torch.equal(first, model(x))
    torch.manual_seed(1)
    assert torch.equal(first, model(x))
    # The stream draws the same numbers as the whole call.
    torch.manual_seed(1)
    state = None
    for _ in range(3):
        scores, state = model.step(x, state)
    torch.testing.assert_close(scores, first)


@pytest.mark.parametrize("encoder", ["poisson", "poisson-signed"])
def test_spikes_of_an_image_that_is_not_finite(encoder):
    x = torch.rand(2, 3, 8, 8)
    x[1, 0, 0, 0] = float("nan")
    scores = create_model("sresnet8", encoder=encoder, **SMALL).eval()(x)
    assert scores.isnan().any(1).tolist() == [False, True]


def test_new_classifier_and_frozen_backbone():
    model = create_model("sresnet8", **SMALL)
    model.reset_classifier(7, boosting=True)
    x = torch.randn(4, 3, 8, 8)
    assert model(x).shape == (4, 7)
    assert model.config.num_classes == 7
    assert model.get_classifier().out_features == 70
    torch.testing.assert_close(model.forward_head(model.forward_features(x)), model(x))

    model.freeze_backbone()
    model.train()
    statistics = copy.deepcopy(dict(model.named_buffers()))
    model(x).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is not None] == ["readout.linear.weight"]
    assert all(torch.equal(buffer, statistics[name]) for name, buffer in model.named_buffers())
    model.freeze_backbone(False)
    model(x).sum().backward()
    assert model.layers["stem"].conv.weight.grad is not None
    assert not torch.equal(model.layers["stem"].norm.running_mean, statistics["layers.stem.norm.running_mean"])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: create_model("sresnet37"), "depth 37 is not 6n"),
        (lambda: create_model("sresnet21"), "depth 21 .* nearest are 20 and 26"),
        (lambda: create_model("resnet50x"), "model 'resnet50x' is unknown: did you mean 'resnet56'"),
        (lambda: create_model("sresnet8", leek=0.5), "no field 'leek': did you mean 'leak'"),
        (lambda: create_model("sresnet8", leak=2), "leak 2 is outside"),
        (lambda: create_model("sresnet8", leak=1, neuron="plif"), "leak 1 cannot start"),
        (lambda: create_model("sresnet8", num_steps=0), "num_steps 0 is less than 1"),
        (lambda: create_model("sresnet8", num_steps="4"), "num_steps is '4': expected int"),
        (lambda: create_model("sresnet8", num_steps=True), "num_steps is True"),
        (lambda: create_model("sresnet8", num_classes=-1), "num_classes -1"),
        (lambda: create_model("sresnet8", base_filters=0), "base_filters 0"),
        (lambda: create_model("sresnet8", threshold=-1.0), "threshold -1.0"),
        (lambda: create_model("sresnet8", connection="s2x"), "connection is 's2x': expected one of 's2s'"),
        (lambda: create_model("sresnet8", connection="v2v", skip="spiking"), "skip 'spiking' turns"),
        (lambda: create_model("sresnet8", surrogate_height=0.0), "height 0.0"),
        (lambda: create_model("sresnet8", compat="both"), "compat 'both'"),
        (lambda: create_model("vgg11", width=0.0), "width 0.0"),
        (lambda: create_model("vgg11", hidden=0), "hidden 0"),
        (lambda: make("s2s")(torch.zeros(3, 8, 8)), "expected images"),
        (lambda: make("s2s")(torch.zeros(1, 4, 8, 8)), r"\(1, 4, 8, 8\): expected images \[N, 3, H, W\]"),
        (lambda: make("s2s")(torch.zeros(1, 3, 8, 8), num_steps=0), "num_steps 0"),
        (lambda: make("s2s")(torch.zeros(1, 2, 3, 8, 8), num_steps=3), "more than the 2 frames"),
        (
            lambda: make("s2s")(torch.zeros(1, 3, 8, 8), record=["stem"]),
            "record names 'stem', not a layer of neurons: .*stem.neuron",
        ),
        (
            lambda: create_model("sresnet8", encoder="poisson", **SMALL)(torch.zeros(1, 2, 3, 8, 8)),
            "encoder 'poisson' encodes images",
        ),
        (lambda: make("s2s").step(torch.zeros(1, 2, 3, 8, 8)), "one time step"),
    ],
)
def test_errors_name_value_fault_and_cure(call, words):
    with pytest.raises(UserError, match=words) as raised:
        call()
    assert "\n" not in str(raised.value)


def test_compat_sets_every_row():
    paper, released, default = (model_config("sresnet38", compat=c) for c in ("paper", "released-code", None))
    assert (paper.fires_at_threshold, paper.surrogate_center, paper.skip_norm) == (True, 0.0, False)
    assert (released.norm_bias, released.leak, released.skip_norm) == (True, 0.8744, True)
    assert default == model_config("sresnet38", compat="released-code", norm_bias=False, leak=0.874)
    assert model_config("sresnet38", compat="paper", leak=0.5).leak == 0.5


def test_overfits_32_images():
    torch.manual_seed(3)
    model = create_model("sresnet8", base_filters=8, num_steps=4, in_channels=1, surrogate_height=1.0)
    x, y = torch.randn(32, 1, 8, 8), torch.randint(0, 10, (32,))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(40):
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.1
    assert (model(x).argmax(1) == y).all()
