import copy
import pickle

import pytest
import torch

import sresnet
from sresnet.errors import UserError
from sresnet.models.int8 import to_int8
from sresnet.nn.layer import Int8Conv
from sresnet.ops.conv_bntt_lif import operator
from sresnet.ops.conv_bntt_lif.int8 import convolve_int8, prepare, round_weight
from sresnet.ops.dispatch import implementation
from sresnet.ops.scan import cpu as kernel
from tests.ops.flat import conv_bntt_lif


def settled(connection, **fields):
    """A network whose running averages fit its input, and that input."""
    model = sresnet.create_model("sresnet14", base_filters=8, num_steps=4, connection=connection, **fields)
    x = torch.randn(3, 3, 12, 12)
    with torch.no_grad():
        for _ in range(30):
            model(x)
    return model.eval(), x


@pytest.mark.parametrize(("size", "stride", "padding"), [(3, 1, 1), (3, 2, 1), (1, 2, 0), (5, 1, 0)])
def test_sums_are_exact(size, stride, padding):
    x = torch.randint(0, 128, (4, 7, 9, 8), dtype=torch.uint8)
    weight = torch.randn(5, 7, size, size)
    integers, scale = round_weight(weight)
    prepared = prepare(weight, (stride, stride), (padding, padding))
    y = convolve_int8(x, prepared, (stride, stride), (padding, padding))
    sums = torch.nn.functional.conv2d(x.double(), integers.double(), None, stride, padding)
    torch.testing.assert_close(y.double(), sums * scale[:, None, None], rtol=1e-6, atol=1e-4)
    assert integers.abs().amax((1, 2, 3)).tolist() == [127] * 5
    assert (weight - integers * scale[:, None, None, None]).abs().max() <= scale.max() / 2 * 1.0001


def test_a_filter_of_zeros_stays_one():
    integers, scale = round_weight(torch.zeros(2, 3, 1, 1))
    assert integers.abs().max() == 0
    assert scale.isfinite().all()


@pytest.mark.parametrize("connection", ["s2s", "s2m", "v2v", "none"])
@pytest.mark.parametrize("name", ["fastest", "low-memory"])
def test_layers_whose_input_is_whole_numbers_use_it(connection, name, monkeypatch):
    if not kernel.available():
        pytest.skip("no C++ compiler")
    model, x = settled(connection)
    rounded = to_int8(model)
    used = []

    def watch(planes, shape, int8, call):
        y = convolve_whole_numbers(planes, shape, int8, call)
        (layer,) = (name for name, module in rounded.named_modules() if getattr(module, "int8", None) is int8)
        used.append(layer)
        # The sums are those of a float convolution with the rounded weight.
        integers, scale = round_weight(rounded.get_submodule(layer).weight)
        spikes = kernel.unpack(planes, None, shape, torch.float32).flatten(0, 1)
        sums = torch.nn.functional.conv2d(
            spikes, integers * scale[:, None, None, None], None, call.stride, call.padding
        )
        torch.testing.assert_close(y.flatten(0, 1), sums, rtol=1e-5, atol=1e-5)
        return y

    convolve_whole_numbers = operator._convolve_whole_numbers
    monkeypatch.setattr(operator, "_convolve_whole_numbers", watch)
    with torch.no_grad(), implementation(name):
        scores = rounded(x)
    assert scores.isfinite().all()
    assert set(used) == {name for name, module in rounded.named_modules() if whole_numbers_in(name, module, connection)}
    assert (scores - model(x)).abs().max() > 0


def whole_numbers_in(name, module, connection):
    """All but the stem and v2v's skips; of s2s, in stages 2 and 3, what is behind the first 1x1 skip is real."""
    if not isinstance(module, Int8Conv) or "stem" in name:
        return False
    if "skip" in name:
        return connection == "s2m" or (connection == "s2s" and "stage2" in name)
    return connection != "s2s" or name.endswith("conv2") or "stage1" in name or "stage2_block1" in name


def test_the_model_itself_is_left_alone():
    model, x = settled("s2s")
    before = model(x)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    to_int8(model)(x)
    assert torch.equal(model(x), before)
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())


@pytest.fixture
def native():
    if not kernel.available():
        pytest.skip("no C++ compiler")


def other_weights(model):
    """The same network after some training, as it were."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.3 * parameter.std() * torch.randn_like(parameter) if parameter.numel() > 1 else 0)
    return other


def by_data(model, state):
    """As weight averages of others write them, past torch's counter of versions."""
    for name, tensor in state.items():
        model.get_parameter(name).data.copy_(tensor) if name in dict(model.named_parameters()) else None


CHANGES = {
    "load_state_dict": lambda model, state: model.load_state_dict(state),
    "load_state_dict, assign": lambda model, state: model.load_state_dict(state, assign=True),
    "by data": by_data,
    "a new parameter": lambda model, state: [
        setattr(module, "weight", torch.nn.Parameter(state[f"{name}.weight"], requires_grad=False))
        for name, module in model.named_modules()
        if f"{name}.weight" in state
    ],
    "vector": lambda model, state: torch.nn.utils.vector_to_parameters(
        torch.cat([state[name].flatten() for name, _ in model.named_parameters()]), model.parameters()
    ),
}


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("change", CHANGES)
def test_eight_bits_follow_the_weights(change):
    model, x = settled("s2m")
    other = other_weights(model)
    rounded = to_int8(model)
    state = {name: tensor.detach().clone() for name, tensor in other.state_dict().items()}
    with torch.no_grad():
        before = rounded(x)
        CHANGES[change](rounded, state)
        after = rounded(x)
        assert torch.equal(after, to_int8(other)(x))
        assert not torch.equal(after, before)
        assert torch.equal(to_int8(model)(x), before)


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("kind", ["deepcopy", "pickle", "torch.save", "save_model"])
def test_copies(kind, tmp_path):
    model, x = settled("s2s")
    rounded = to_int8(model)
    expected = rounded(x)
    if kind == "deepcopy":
        copied = copy.deepcopy(rounded)
    elif kind == "pickle":
        copied = pickle.loads(pickle.dumps(rounded))
    elif kind == "torch.save":
        torch.save(rounded, tmp_path / "model.pt")
        copied = torch.load(tmp_path / "model.pt", weights_only=False)
    else:
        sresnet.save_model(rounded, tmp_path / "weights.safetensors")
        copied = sresnet.load(tmp_path / "weights.safetensors")
        assert torch.equal(copied(x), model(x))  # the file holds the weights as they were
        copied = to_int8(copied)
    assert torch.equal(copied(x), expected)
    with torch.no_grad():
        copied.layers["stage1_block1"].conv1.weight.zero_()
    assert not torch.equal(copied(x), expected)
    assert torch.equal(rounded(x), expected)


@pytest.mark.usefixtures("native")
def test_gradients_that_nobody_asks_for_change_nothing():
    model, x = settled("s2m")
    rounded = to_int8(model)
    with torch.no_grad():
        expected = rounded(x)
    assert torch.is_grad_enabled()
    assert torch.equal(rounded(x), expected)
    assert not torch.equal(model(x), expected)
    with torch.inference_mode():
        assert torch.equal(rounded(x), expected)


@pytest.mark.usefixtures("native")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of torch.compile, about torch
@pytest.mark.parametrize(
    ("use", "words"),
    [
        (lambda model, x: model(x.requires_grad_()), "has no gradients"),
        (lambda model, x: model.requires_grad_()(x), "has no gradients"),
        (lambda model, x: model.double()(x.double()), "for float32 on the CPU, and its weight is torch.float64"),
        (lambda model, x: model.bfloat16()(x.bfloat16()), "its weight is torch.bfloat16"),
        (lambda model, x: model.to("meta")(x.to("meta")), "on meta"),
        (lambda model, x: model(x.double()), "input is of torch.float64"),
        (lambda model, x: in_reference(model, x), "leave out torch.compile, the reference implementation"),
        (lambda model, x: in_float16(model, x), "in float32 or bfloat16"),
        (lambda model, x: model(x, record=["stage1_block1.neuron1"]), "inside its layers only"),
        (lambda model, x: hooked(model)(x), "inside its layers only"),
    ],
    ids=["saliency", "parameters", "double", "bfloat16", "meta", "images", "reference", "autocast", "record", "hook"],
)
def test_what_cannot_be_is_refused(use, words):
    model, x = settled("s2m")
    with pytest.raises(UserError, match=words) as error:
        use(to_int8(model), x)
    assert "\n" not in str(error.value)


def in_reference(model, x):
    with implementation("reference"):
        return model(x)


def in_float16(model, x):
    with torch.autocast("cpu", torch.float16):
        return model(x)


def hooked(model):
    model.layers["stage2_block1"].conv2.register_forward_hook(lambda *given: None)
    return model


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("fields", [{"skip_norm": False}, {"norm": "none"}, {"skip": "spiking"}, {"skip": "tdbn"}])
def test_skips_of_every_kind(fields):
    model, x = settled("s2m", **fields)
    assert (to_int8(model)(x) - model(x)).abs().max() > 0


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize(("layers", "used"), [(127, True), (128, False)])
def test_sums_that_eight_bits_cannot_hold_are_not_rounded(layers, used, monkeypatch):
    calls = []
    whole = operator._convolve_whole_numbers
    monkeypatch.setattr(operator, "_convolve_whole_numbers", lambda *given: (calls.append(1), whole(*given))[1])
    ones, weight = torch.full((1, 1, 4, 2, 2), 9.0), torch.ones(4, 4, 1, 1)
    spikes, _, _, packed, _ = conv_bntt_lif(ones, torch.eye(4)[..., None, None], leak=0.5)
    assert spikes.min() == 1
    sent = layers * spikes, packed._replace(planes=packed.planes * layers)
    with torch.no_grad():
        out = conv_bntt_lif(
            sent[0], weight, leak=0.5, packed=sent[1], int8=prepare(weight, (1, 1), (0, 0)), return_current=True
        )
    assert bool(calls) == used
    torch.testing.assert_close(out.current, torch.full((1, 1, 4, 2, 2), 4.0 * layers))


@pytest.mark.usefixtures("native")
def test_what_has_no_eight_bits_is_refused(monkeypatch):
    with pytest.raises(UserError, match="for the CPU"):
        to_int8(sresnet.create_model("sresnet8", num_steps=2).to("meta"))
    with pytest.raises(UserError, match=r"its weight is torch\.float64"):
        to_int8(sresnet.create_model("sresnet8", num_steps=2).double())
    with pytest.raises(UserError, match="needs spikes"):
        to_int8(sresnet.create_model("resnet8"))
    monkeypatch.setattr(kernel, "available", lambda: False)
    with pytest.raises(UserError, match="needs the compiled kernel"):
        to_int8(sresnet.create_model("sresnet8", num_steps=2))
