import pytest
import torch

import sresnet
from sresnet.errors import UserError
from sresnet.models.int8 import to_int8
from sresnet.nn.layer import Int8Conv
from sresnet.ops.bntt_lif import cpu as kernel
from sresnet.ops.conv_bntt_lif import cpu
from sresnet.ops.conv_bntt_lif.int8 import convolve_int8, prepare, round_weight
from sresnet.ops.implementation import implementation


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

    def watch(planes, part, shape, int8, call):
        y = convolve_whole_numbers(planes, part, shape, int8, call)
        (layer,) = (name for name, module in rounded.named_modules() if getattr(module, "int8", None) is int8)
        used.append(layer)
        # The sums are those of a float convolution with the rounded weight.
        integers, scale = round_weight(rounded.get_submodule(layer).weight)
        spikes = restored(planes, None, shape, part, torch.float32).flatten(0, 1)
        sums = torch.nn.functional.conv2d(
            spikes, integers * scale[:, None, None, None], None, call.stride, call.padding
        )
        torch.testing.assert_close(y.flatten(0, 1), sums, rtol=1e-5, atol=1e-5)
        return y

    convolve_whole_numbers, restored = cpu.convolve_whole_numbers, cpu.restored
    monkeypatch.setattr(cpu, "convolve_whole_numbers", watch)
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


def test_is_for_the_cpu():
    with pytest.raises(UserError, match="for the CPU"):
        to_int8(sresnet.create_model("sresnet8", num_steps=2).to("meta"))
