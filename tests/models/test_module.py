"""A model is an ordinary nn.Module: what else PyTorch does with one works."""

import io
import subprocess
import sys

import pytest
import torch

from sresnet import UserError, create_model
from sresnet.ops.dispatch import implementation

# Raised inside torch.compile and torch.export, by and about torch.
inside_torch = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def model():
    return create_model("sresnet8", base_filters=4, num_steps=3, neuron="plif-shared").eval()


X = torch.linspace(-2, 2, 2 * 3 * 12 * 12).view(2, 3, 12, 12)


def test_to_double_and_bfloat16(model):
    expected = model(X)
    torch.testing.assert_close(model.double()(X.double()).float(), expected, atol=1e-5, rtol=1e-5)
    assert model.bfloat16()(X.bfloat16()).dtype == torch.bfloat16


@inside_torch
def test_compile_fullgraph(model):
    """Graph capture without a break, forward and backward; the compiler behind it is not what is tested here."""
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(X), model(X))
    compiled(X).sum().backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    model(X).sum().backward()
    for name, p in model.named_parameters():
        torch.testing.assert_close(gradients[name], p.grad)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # inductor's own
def test_compile_with_inductor(model):
    torch.testing.assert_close(torch.compile(model, fullgraph=True)(X), model(X))


@inside_torch
def test_compile_in_training_updates_the_statistics(model):
    other = create_model("sresnet8", base_filters=4, num_steps=3, neuron="plif-shared")
    other.load_state_dict(model.state_dict())
    model.train()
    other.train()
    torch.testing.assert_close(torch.compile(other, fullgraph=True, backend="aot_eager")(X), model(X))
    for (name, ours), theirs in zip(model.named_buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=name)


@inside_torch
def test_export_with_any_batch(model):
    program = torch.export.export(model, (X,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    five = torch.randn(5, 3, 12, 12)
    torch.testing.assert_close(program.module()(five), model(five))


@inside_torch
@pytest.mark.parametrize(
    ("fields", "learns"),
    [
        ({}, False),
        ({}, True),
        ({"connection": "v2v", "norm": "tdbn"}, False),
        ({"encoder": "latency", "neuron": "plif"}, False),
        ({"num_steps": 6}, False),  # which many images go through in segments
    ],
)
def test_an_exported_graph_needs_no_kernel_of_this_package(fields, learns):
    model = create_model("sresnet8", **{"base_filters": 2, "num_steps": 2} | fields).eval()
    images = torch.rand(2, 3, 8, 8)
    with torch.set_grad_enabled(learns):
        program = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    assert not [node for node in program.graph.nodes if "sresnet" in str(node.target)]
    many = torch.rand(5, 3, 8, 8)
    with implementation("reference"):
        torch.testing.assert_close(program.module()(many), model(many), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the exporter's own
def test_onnx_by_torchs_exporter(tmp_path):
    pytest.importorskip("onnxscript", reason="onnxscript, which torch.onnx.export needs, is not installed")
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    model = create_model("sresnet8", base_filters=2, num_steps=2).eval()
    images, many = torch.rand(2, 3, 8, 8), torch.rand(5, 3, 8, 8)
    batch = ({0: torch.export.Dim("batch")},)
    torch.onnx.export(model, (images,), tmp_path / "model.onnx", dynamo=True, dynamic_shapes=batch, verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (found,) = session.run(None, {session.get_inputs()[0].name: many.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), model(many).detach(), atol=1e-5, rtol=1e-5)


TRACERS = {
    "trace": lambda model: torch.jit.trace(model, X),
    "trace of a function": lambda model: torch.jit.trace(lambda x: model(x), X),
    "trace of a network around it": lambda model: torch.jit.trace(torch.nn.Sequential(model, torch.nn.ReLU()), X),
    "script": torch.jit.script,
    "the old exporter": lambda model: torch.onnx.export(model, (X,), io.BytesIO(), dynamo=False),
}


@pytest.mark.filterwarnings("ignore")  # torch's own, which advises against the old exporter
@pytest.mark.parametrize("tracer", TRACERS)
def test_tracers_are_told_what_to_use(model, tracer):
    pytest.importorskip("onnx", reason="the extra onnx is not installed")
    with pytest.raises(UserError) as error:
        TRACERS[tracer](model)
    assert "torch.onnx.export(model, (x,), dynamo=True) or sresnet.export.to_onnx(model, x)" in str(error.value)
    assert "\n" not in str(error.value)
    assert model(X).isfinite().all()  # and the network is as it was


RANK = """
import os, sys, torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from sresnet import create_model

rank, rendezvous, out = int(sys.argv[1]), sys.argv[2], sys.argv[3]
torch.set_num_threads(1)
torch.manual_seed(5)
# In evaluation mode, where a norm's statistics do not depend on which half of the batch it sees.
model = create_model("sresnet8", base_filters=4, num_steps=3, neuron="plif-shared").eval()
images = torch.linspace(-2, 2, 4 * 3 * 12 * 12).view(4, 3, 12, 12)
dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
parallel = DistributedDataParallel(model)
parallel(images[2 * rank : 2 * rank + 2]).square().mean().backward()
if rank == 0:
    averaged = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    model(images).square().mean().backward()
    for name, p in model.named_parameters():
        torch.testing.assert_close(averaged[name], p.grad, msg=name)
    open(out, "w").write("equal")
dist.barrier()
os._exit(0)  # torch can wait for itself for ever while it takes a process group down
"""


def test_data_parallel_gradients_are_those_of_the_whole_batch(tmp_path):
    commands = [[sys.executable, "-c", RANK, str(r), tmp_path / "rendezvous", tmp_path / "out"] for r in (0, 1)]
    ranks = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    errors = [rank.communicate()[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], errors
    assert (tmp_path / "out").read_text() == "equal"


def test_channels_last(model):
    expected = model(X)
    other = model.to(memory_format=torch.channels_last)
    torch.testing.assert_close(other(X.to(memory_format=torch.channels_last)), expected, atol=1e-5, rtol=1e-5)


def test_autocast_keeps_potentials_in_float32(model):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, records = model(X, record=["stem.neuron"])
    assert records["stem.neuron"].membrane.dtype == torch.float32
