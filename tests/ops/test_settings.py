"""Torch's global settings change no number: the native code gets the memory it expects whatever they say."""

import contextlib

import pytest
import torch

from sresnet import create_model
from sresnet.models.int8 import to_int8
from sresnet.ops.dispatch import IMPLEMENTATIONS, implementation
from sresnet.ops.scan import cpu
from tests.ops.test_layouts import OPS, SHAPE, everything


@contextlib.contextmanager
def put_back(change, after):
    change()
    try:
        yield
    finally:
        after()


def default_dtype(dtype):
    return lambda: put_back(lambda: torch.set_default_dtype(dtype), lambda: torch.set_default_dtype(torch.float32))


def default_device(device):
    return lambda: put_back(lambda: torch.set_default_device(device), lambda: torch.set_default_device(None))


def deterministic(**how):
    on = lambda: torch.use_deterministic_algorithms(True, **how)  # noqa: E731
    return lambda: put_back(on, lambda: torch.use_deterministic_algorithms(False))


def threads(number):
    return lambda: put_back(lambda: torch.set_num_threads(number), lambda: torch.set_num_threads(1))


def precision(name):
    on = lambda: torch.set_float32_matmul_precision(name)  # noqa: E731
    return lambda: put_back(on, lambda: torch.set_float32_matmul_precision("highest"))


SETTINGS = {
    "default float64": default_dtype(torch.float64),
    "default float16": default_dtype(torch.float16),
    "default bfloat16": default_dtype(torch.bfloat16),
    "default device": lambda: put_back(
        lambda: torch.set_default_device("meta"), lambda: torch.set_default_device(None)
    ),
    "a device's context": lambda: torch.device("meta"),
    "deterministic": deterministic(),
    "deterministic, warns": deterministic(warn_only=True),
    "three threads": threads(3),
    "precision high": precision("high"),
    "precision medium": precision("medium"),
    "denormals": lambda: put_back(lambda: torch.set_flush_denormal(True), lambda: torch.set_flush_denormal(False)),
    "anomaly mode": lambda: torch.autograd.set_detect_anomaly(True, check_nan=True),
}


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("op", OPS)
def test_ops(op, setting):
    make, kind = OPS[op]
    call, inputs, gradients = make(SHAPE, kind)
    for name in IMPLEMENTATIONS:
        how = ("channels last", "contiguous"), name, False
        expected = everything(call, inputs, gradients, *how)
        with SETTINGS[setting]():
            found = everything(call, inputs, gradients, *how)
        for key, value in expected.items():
            assert found[key].dtype == value.dtype, (key, name)
            # Torch may divide sums among threads in another way; the kernel does not.
            exact = setting != "three threads" or (name != "reference" and not op.startswith(("layer", "skip")))
            torch.testing.assert_close(found[key], value, **({"rtol": 0, "atol": 0} if exact else {}), msg=key)


def gradients_and_averages(model, images, labels, name):
    model.zero_grad()
    with implementation(name):
        torch.nn.functional.cross_entropy(model(images), labels).backward()
    return [p.grad.clone() for p in model.parameters()] + [b.clone() for b in model.buffers()]


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_networks_with_learned_leaks(setting, name):
    model = create_model("sresnet8", base_filters=4, num_steps=3, neuron="plif", connection="v2v", downsample="avg")
    images, labels = torch.randn(3, 3, 8, 8), torch.tensor([0, 4, 7])
    before = {key: value.clone() for key, value in model.state_dict().items()}
    expected = gradients_and_averages(model, images, labels, name)
    model.load_state_dict(before)
    with SETTINGS[setting]():
        found = gradients_and_averages(model, images, labels, name)
    tolerance = {} if setting == "three threads" else {"rtol": 0, "atol": 0}
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, **tolerance)
    leaks = [p.grad for key, p in model.named_parameters() if key.endswith("leak_logit")]
    assert len(leaks) == 7
    assert all(grad != 0 for grad in leaks)


@pytest.mark.parametrize("setting", [*SETTINGS, "inference mode"])
@pytest.mark.parametrize("kind", ["fp32", "int8", "training"])
def test_inference(setting, kind):
    """Averages that training moves are moved in inference mode too."""
    model = create_model("sresnet8", base_filters=4, num_steps=3, connection="s2m").train(kind == "training")
    images = torch.randn(3, 3, 8, 8)
    how = {**SETTINGS, "inference mode": torch.inference_mode}[setting]
    if kind == "int8":
        model = to_int8(model)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = []
    for context in (contextlib.nullcontext, how):
        model.load_state_dict(before)
        with torch.no_grad(), context():
            scores = model(images)
        found.append([scores.clone(), *(buffer.clone() for buffer in model.buffers())])
    for one, other in zip(*found, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, **({} if setting == "three threads" else {"rtol": 0, "atol": 0}))
    assert (kind == "training") == any(not torch.equal(buffer, before[key]) for key, buffer in model.named_buffers())


@pytest.mark.parametrize(
    "memory",
    [
        torch.zeros(2, dtype=torch.float64),
        torch.zeros(2, device="meta"),
        torch.zeros(2, 3).T,
        torch.zeros(1, 2, 3, 4),
        torch.zeros(2, 1, 2, 3, 4),
    ],
    ids=["dtype", "device", "gaps", "not in rows", "steps not in rows"],
)
def test_memory_that_the_kernel_would_misread_is_refused(memory):
    assert cpu._address(torch.zeros(2), torch.float32)
    assert cpu._address(None, torch.float32) is cpu._address(torch.zeros(0), torch.float32) is None
    with pytest.raises(TypeError, match=r"the kernel expects torch\.float32 in rows and got"):
        cpu._address(memory, torch.float32)
