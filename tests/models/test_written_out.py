"""A network that is written out with single spikes computes what the network computes, and its weights meet spikes."""

import importlib.util
import io
import shutil

import pytest
import torch

from sresnet import UserError, create_model
from sresnet.export import to_c, to_torch_export
from sresnet.export.run_c import CProgram
from sresnet.models.program import Affine, Convolution, Linear, program_of, run
from sresnet.models.written_out import written_out
from tests.analysis.networks import trained
from tests.analysis.test_hardware import VARIANTS

SIZES = {"c3": (8, 12), "c3s2": (16, 24)}


def network(fields):
    """A network in float64 and images for it; odd sizes, so that all borders differ, where there are no pools."""
    size = SIZES[fields.get("stem", "c3")] if "downsample" in fields else (7, 10)
    return trained(**fields, size=size).double().eval(), torch.randn(3, 2, *size, dtype=torch.float64)


def steps_of(program, frames):
    """Scores, and the outputs of all operations after each step."""
    seen = []
    return run(program, frames, lambda stepped: seen.append(stepped.outputs)), seen


@pytest.mark.parametrize("fields", VARIANTS.values(), ids=VARIANTS)
def test_scores_and_spikes_are_equal(fields):
    model, images = network(fields)
    with torch.no_grad():
        frames = model.encode(images, None)
        expected, before = steps_of(program_of(model), frames)
        program = written_out(model, images.shape[-2:])
        found, after = steps_of(program, frames)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10)
    names = [each.name for each in program.neurons]
    assert names == [each.name for each in program_of(model).neurons]
    for one, other in zip(before, after, strict=True):
        for name in names:
            assert torch.equal(one[name], other[name]), name


@pytest.mark.parametrize("fields", VARIANTS.values(), ids=VARIANTS)
def test_every_weight_meets_a_spike_or_the_input(fields):
    model, images = network(fields)
    with torch.no_grad():
        program = written_out(model, images.shape[-2:])
        _, seen = steps_of(program, model.encode(images, None))
    weighted = [each for each in program.operations if isinstance(each, Convolution | Linear)]
    assert len(weighted) > 6
    for each in weighted:
        (source,) = each.inputs
        if source != "input":
            assert set(torch.stack([step[source] for step in seen]).unique().tolist()) <= {0.0, 1.0}, each.name


def test_weights_of_all_steps_are_there_once_where_a_gain_says_what_changes():
    """With norms per step, S2M's second layers have a gain behind their weights, and only S2S's 1x1 skips need more."""
    s2m, s2s, averaged = (
        written_out(trained(**fields).double(), (8, 8))
        for fields in ({"connection": "s2m"}, {}, {"norm": "time-averaged"})
    )
    assert not [each for each in s2m.operations if isinstance(each, Convolution) and each.weight.ndim == 5]
    assert max(len(each.gain) for each in s2m.operations if isinstance(each, Affine)) == 3
    by_step = [each.name for each in s2s.operations if isinstance(each, Convolution) and each.weight.ndim == 5]
    assert by_step
    assert all(name.startswith(("stage2", "stage3", "readout")) for name in by_step)
    assert s2s.most_steps == s2m.most_steps == 3
    assert averaged.most_steps is None
    assert {len(each.gain) for each in averaged.operations if isinstance(each, Affine)} <= {1}


@pytest.mark.parametrize("target", ["onnx", "torch-export", "c", "nir"])
@pytest.mark.parametrize("norm", ["bntt", "time-averaged"])
@pytest.mark.parametrize("connection", ["s2s", "s2m", "v2v", "none"])
def test_files_of_a_network_that_is_written_out(connection, norm, target):
    """Weights of each step, and shifts of each pixel, in every target."""
    needed = {"onnx": "onnxruntime", "nir": "nir"}.get(target)
    if needed and importlib.util.find_spec(needed) is None:
        pytest.skip(f"the extra {target} is not installed")
    if target == "c" and not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("no C compiler")
    model, images = network({"connection": connection, "norm": norm})
    if target == "nir" and norm == "bntt":
        from sresnet.export import to_nir

        with pytest.raises(UserError, match="time step, and NIR knows no time steps: .* --model.norm time-averaged"):
            to_nir(model, images, write_out="binary")
        return
    with torch.no_grad():
        frames = model.encode(images, None)
        expected = run(program_of(model), frames).transpose(0, 1)
        found = scores_of(model, images, frames.transpose(0, 1), target)
    assert float((found - expected).abs().max()) < (1e-9 if target in ("torch-export", "nir") else 1e-4)


def scores_of(model, images, frames, target):
    """Scores of a file, written and read again."""
    if target == "torch-export":
        buffer = io.BytesIO()
        torch.export.save(to_torch_export(model, images, write_out="binary"), buffer)
        buffer.seek(0)
        return torch.export.load(buffer).module()(images)
    if target == "c":
        return CProgram(to_c(model, images, write_out="binary").text, "-Wall", "-Wextra", "-Werror").scores(frames)
    if target == "nir":
        from sresnet.export import to_nir
        from sresnet.export.run_nir import NirProgram

        return NirProgram(to_nir(model, images, write_out="binary", dtype=torch.float64), "graph").scores(frames)
    import onnxruntime

    from sresnet.export import to_onnx

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    file = onnxruntime.InferenceSession(to_onnx(model, images, write_out="binary").SerializeToString(), options)
    return torch.from_numpy(file.run(["scores"], {"images": images.float().numpy()})[0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: create_model("sresnet8", downsample="max", base_filters=4), "max pool"),
        (lambda: create_model("sew_resnet18", join="and", stem="c3", base_filters=4), "and of spikes"),
        (lambda: create_model("sresnet8", neuron="relu", base_filters=4, num_steps=1), "sends no spikes"),
        (lambda: create_model("fang-cifar", width=1 / 16, image_size=16), "."),
        (lambda: create_model("sresnet8", readout="spikes", base_filters=4), "use readout 'potential'"),
    ],
)
def test_networks_without_such_a_form_are_refused_in_one_line(make, message):
    with pytest.raises(UserError, match=message) as caught:
        written_out(make().eval(), (16, 16))
    assert len(str(caught.value).splitlines()) == 1
    assert ": " in str(caught.value)


def test_the_network_stays_as_it_is():
    model = trained()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    program = written_out(model, (8, 8))
    assert {each.weight.dtype for each in program.operations if isinstance(each, Convolution)} == {torch.float32}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    handle = model.layers["stem"].register_forward_hook(lambda module, inputs, output: None)
    with pytest.raises(UserError, match=r"layers\.stem has a hook"):
        written_out(model, (8, 8))
    handle.remove()
