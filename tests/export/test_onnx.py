"""What onnxruntime computes of an exported file is what the network computes, spike for spike."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

import sresnet
from sresnet.convert import METHODS, to_spiking
from sresnet.errors import UserError
from sresnet.models.program import in_few_bits, program_of, run
from sresnet.models.written_out import written_out
from tests.models.test_program import CONNECTIONS, NORMS, ZOO, exact, trained

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

from sresnet.export.onnx import about_of_onnx, to_onnx  # noqa: E402

SMALL = torch.zeros(1, 3, 8, 8, dtype=torch.float64)


def session(made):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])


def difference(model, size=(16, 16), batch=3, frames=False, write_out="no", weight_bits=32):
    """The largest between the scores of a file after any step, and those of the program in float64."""
    model = model.double()
    images = torch.randn(batch, model.config.in_channels, *size, dtype=torch.float64)
    with torch.no_grad():
        encoded = model.encode(images, None)
        program = written_out(model, size) if write_out == "binary" and weight_bits != 32 else program_of(model)
        program = in_few_bits(program, weight_bits) if weight_bits != 32 else program
        expected = run(program, encoded).transpose(0, 1).numpy()
    example = encoded.transpose(0, 1) if frames else images
    file = session(to_onnx(model, example, write_out=write_out, weight_bits=weight_bits))
    name = file.get_inputs()[0].name
    given = encoded.transpose(0, 1) if name == "frames" else images
    (found,) = file.run(["scores"], {name: given.float().contiguous().numpy()})
    assert found.shape == expected.shape
    return np.abs(found - expected).max()


@pytest.mark.parametrize(("connection", "norm"), list(itertools.product(CONNECTIONS, NORMS)))
def test_every_connection_and_norm(connection, norm):
    fields = {"connection": connection, "norm": norm, "norm_bias": norm != "none", "base_filters": 4, "num_steps": 3}
    assert difference(trained("sresnet8", **fields)) < 1e-4


@pytest.mark.parametrize("name", ZOO)
def test_networks_of_others(name):
    size = ZOO[name].get("image_size", 32)
    assert difference(trained(name, **ZOO[name]), (size, size)) < 1e-4


@pytest.mark.parametrize("join", ["and", "iand"])
def test_joins(join):
    model = trained("sew_resnet18", join=join, base_filters=4, num_steps=2, num_classes=10)
    assert difference(model, (32, 32)) < 1e-4


@pytest.mark.parametrize("downsample", ["stride", "avg", "max"])
def test_odd_sizes(downsample):
    assert difference(trained("sresnet8", downsample=downsample, base_filters=4, num_steps=2), (13, 11)) < 1e-4


@pytest.mark.parametrize("encoder", ["direct", "first-step", "latency", "delta", "two-spikes", "poisson"])
def test_every_encoder(encoder):
    assert difference(trained("sresnet8", encoder=encoder, base_filters=4, num_steps=5)) < 1e-4


@pytest.mark.parametrize("readout", ["potential", "leaky", "spikes"])
@pytest.mark.parametrize("boosting", [False, True])
def test_every_readout(readout, boosting):
    model = trained("sresnet8", readout=readout, boosting=boosting, readout_bias=True, base_filters=4, num_steps=3)
    assert difference(model) < 1e-4


@pytest.mark.parametrize("reset", ["subtract", "zero"])
@pytest.mark.parametrize("fires_at_threshold", [False, True])
def test_every_reset(reset, fires_at_threshold):
    fields = {"reset": reset, "fires_at_threshold": fires_at_threshold, "threshold": 0.75, "neuron": "plif"}
    assert difference(trained("sresnet8", base_filters=4, num_steps=4, **fields)) < 1e-4


def test_event_frames():
    assert difference(trained("sresnet8", in_channels=2, base_filters=4, num_steps=4), frames=True) < 1e-4


@pytest.mark.parametrize("method", ["deng", "rmp", "tsc", "few-spikes"])
def test_converted_networks(method):
    ann = trained("resnet8", base_filters=4, neuron="relu", num_steps=1, downsample="avg", connection="s2m")
    config = METHODS[method]
    if hasattr(config, "num_steps"):
        config = replace(config, num_steps=6)
    assert difference(to_spiking(ann, torch.randn(8, 3, 16, 16, dtype=torch.float64), config)) < 1e-3


@pytest.mark.parametrize("activation", ["relu", "silu", "sigmoid", "tanh", "gelu", "gelu-tanh"])
def test_units_of_anns(activation):
    module = {"gelu-tanh": torch.nn.GELU("tanh"), "silu": torch.nn.SiLU(), "gelu": torch.nn.GELU()}.get(activation)
    module = module or {"relu": torch.nn.ReLU, "sigmoid": torch.nn.Sigmoid, "tanh": torch.nn.Tanh}[activation]()
    ann = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), module, torch.nn.Flatten(), torch.nn.Linear(4 * 36, 10))
    network = sresnet.convert.traced(ann.double().eval(), torch.randn(1, 3, 8, 8, dtype=torch.float64))
    assert difference(network, (8, 8)) < 1e-4


@pytest.mark.parametrize("fires_at_threshold", [False, True])
@pytest.mark.parametrize("connection", CONNECTIONS)
def test_a_stream_has_the_potentials_of_the_program_bit_by_bit(connection, fires_at_threshold, monkeypatch):
    """Of weights whose sums are exact; potentials of all layers after every step, so that every spike is the same."""
    fields = {"connection": connection, "fires_at_threshold": fires_at_threshold, "leak": 0.5, "norm_bias": True}
    model = trained("sresnet8", base_filters=4, num_steps=4, **fields)
    program = exact(model)
    monkeypatch.setattr("sresnet.export.source.program_of", lambda *_, **__: program)
    image = torch.randint(-4, 5, (2, 3, 12, 12)) / 2
    file = session(to_onnx(model, image, streaming=True))
    names = [f"v.{each.name}" for each in program.neurons]
    given = {"input": image.numpy(), "potential": np.zeros((2, 10), np.float32)}
    shapes = {each.name: each.shape for each in file.get_inputs()}
    given |= {name: np.zeros((2, *shapes[name][1:]), np.float32) for name in names}
    steps = []
    assert any(each.fires_at_threshold == fires_at_threshold for each in program.neurons)
    expected = run(program, image.expand(4, -1, -1, -1, -1), steps.append)
    for step, (outputs, v, _) in enumerate(steps):
        given["step"] = np.array(step)
        outputs_of_file = ["scores", "potential.next", *(f"{name}.next" for name in names)]
        found = dict(zip(outputs_of_file, file.run(outputs_of_file, given), strict=True))
        # A mean over pixels and a sum over channels, whose order is the processor's.
        np.testing.assert_allclose(found["scores"], expected[step].numpy(), rtol=1e-6, atol=1e-6)
        for name in names:
            np.testing.assert_array_equal(found[f"{name}.next"], v[name.removeprefix("v.")].numpy(), err_msg=name)
            given[name] = found[f"{name}.next"]
        given["potential"] = found["potential.next"]
        assert sum(float(outputs[each.name].sum()) for each in program.neurons) > 0


def test_a_file_does_not_grow_with_the_time_steps():
    short, long = (
        len(to_onnx(trained("sresnet8", norm="none", base_filters=4, num_steps=steps), SMALL).SerializeToString())
        for steps in (2, 200)
    )
    assert long - short < 5000


def test_any_batch_and_fewer_steps():
    model = trained("sresnet8", base_filters=4, num_steps=4)
    file = session(to_onnx(model, SMALL, num_steps=2))
    for batch in (1, 5):
        images = torch.randn(batch, 3, 8, 8, dtype=torch.float64)
        with torch.no_grad():
            expected = model(images, num_steps=2).numpy()
        (found,) = file.run(["scores"], {"images": images.float().numpy()})
        np.testing.assert_allclose(found[:, -1], expected, atol=1e-4)


def test_what_cannot_be_exported_is_said():
    model = trained("sresnet8", base_filters=4, num_steps=2)
    with pytest.raises(UserError, match="num_steps 3 is outside 1 to 2"):
        to_onnx(model, SMALL, num_steps=3)
    with pytest.raises(UserError, match="images of 8x8 do not fit"):
        to_onnx(trained("kim-vgg9", **ZOO["kim-vgg9"]), SMALL)


def test_metadata_that_are_no_text():
    """Names that are not UTF-8 come as bytes."""
    made = to_onnx(trained("sresnet8", base_filters=4, num_steps=2), SMALL)
    onnx.helper.set_model_props(made, {"sresnet.name": "a"})
    content = made.SerializeToString().replace(b"sresnet.name", b"sresnet.n\xffme")
    with pytest.raises(UserError, match="the file does not say what network it is: give a file that sresnet export"):
        about_of_onnx(content, "the file")


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("name", ["sresnet20", "fang-cifar"])
def test_weights_in_few_bits(name, bits):
    model = trained(name, **ZOO.get(name, {"base_filters": 8, "num_steps": 3}))
    assert difference(model, weight_bits=bits) < 1e-4
    example = torch.zeros(1, 3, 16, 16, dtype=torch.float64)
    small, large = (len(to_onnx(model, example, weight_bits=each).SerializeToString()) for each in (bits, 32))
    assert small < {8: 0.6, 4: 0.5}[bits] * large


@pytest.mark.parametrize("bits", [8, 4])
def test_weights_that_change_with_the_step_in_few_bits(bits):
    model = trained("sresnet8", base_filters=3, num_steps=3)
    assert difference(model, write_out="binary", weight_bits=bits) < 1e-4


@pytest.mark.parametrize("encoder", ["direct", "latency", "delta"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_image_that_is_not_finite_has_no_answer(encoder, bad):
    """Neurons that receive NaN stay silent, so that scores would be numbers; other images keep theirs."""
    model = trained("sresnet8", encoder=encoder, base_filters=2, num_steps=3).float()
    images = torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        whole = program_scores(model, images)
    images[1, 2, 3, 4] = bad
    with torch.no_grad():
        assert model(images).isnan().any(1).tolist() == [False, True]
    (found,) = session(to_onnx(model, images)).run(["scores"], {"images": images.numpy()})
    assert np.isnan(found[1]).all()
    np.testing.assert_allclose(found[0], whole[0], atol=1e-4)
    given = {"input": images.numpy(), "step": np.array(0)}
    file = session(to_onnx(model, images, streaming=True))
    shapes = {each.name: each.shape[1:] for each in file.get_inputs() if each.name not in given}
    given |= {name: np.zeros((2, *shape), np.float32) for name, shape in shapes.items()}
    found, potential = file.run(["scores", "potential.next"], given)
    assert np.isnan(found).all(1).tolist() == np.isnan(potential).all(1).tolist() == [False, True]


def test_a_frame_that_is_not_finite_ends_the_answers():
    model = trained("sresnet8", in_channels=2, base_filters=2, num_steps=4).float()
    frames = torch.rand(2, 4, 2, 8, 8)
    frames[1, 2, 0, 3, 3] = np.nan
    (found,) = session(to_onnx(model, frames)).run(["scores"], {"frames": frames.numpy()})
    assert np.isnan(found).all(-1).tolist() == [[False] * 4, [False, False, True, True]]


def program_scores(model, images):
    """Scores after every step [N, T, classes]."""
    return run(program_of(model), model.encode(images, None)).transpose(0, 1).numpy()
