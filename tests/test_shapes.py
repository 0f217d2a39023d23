"""The shapes in the signatures of `ops` and `nn` are those of the tensors that pass: jaxtyping's import hook checks."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import sresnet.nn
from sresnet.ops import bntt_lif, conv_bntt_lif, lif

ROOT = Path(__file__).parents[1]
HOOK = """
from jaxtyping import install_import_hook
with install_import_hook(["sresnet.ops", "sresnet.nn"], "beartype.beartype"):
    import sresnet.nn, sresnet.ops.conv_bntt_lif, sresnet.ops.lif
"""
NETWORKS = """
import itertools, torch, sresnet
from sresnet.ops.dispatch import IMPLEMENTATIONS, implementation

small = {"base_filters": 4, "num_steps": 3}
networks = [("sresnet8", small | {"connection": c, "neuron": n, "norm": norm, "norm_bias": True, "downsample": d})
            for (c, n), norm, d in itertools.product(
                [("s2s", "lif"), ("s2m", "plif"), ("v2v", "plif-shared"), ("none", "if")],
                ["bntt", "per-step", "time-averaged", "tdbn", "none"], ["stride", "avg"])]
networks += [("sresnet8", small | {"skip": skip, "surrogate": s, "encoder": e, "boosting": True})
             for skip, s, e in [("spiking", "sigmoid", "poisson"), ("learned", "gaussian", "poisson-signed"),
                                ("tdbn", "arctan", "direct")]]
networks += [("resnet8", {"base_filters": 4}), ("vgg11", {"width": 0.03, "hidden": 5, "num_steps": 2})]
for name, fields in networks:
    model = sresnet.create_model(name, **fields)
    x = torch.rand(2, 3, 32 if name == "vgg11" else 8, 32 if name == "vgg11" else 8)
    for how in IMPLEMENTATIONS:
        with implementation(how):
            model.train()(x).sum().backward()
    with torch.no_grad():
        model.eval()(x, record=model.neuron_names)
        model.step(x)
print("all")
"""


def run(code):
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    return subprocess.run([sys.executable, "-c", HOOK + code], capture_output=True, text=True, env=environment)


def test_networks_keep_to_the_shapes():
    done = run(NETWORKS)
    assert done.stdout == "all\n", done.stderr[-2000:]


WRONG = """
import jaxtyping, torch
from sresnet.ops.conv_bntt_lif import Convolution
from sresnet.ops.neuron import LIFConstants
from sresnet.ops.norm import NormState
from sresnet.ops.surrogate import Triangle

NEURON, X, ROW = LIFConstants(leak=0.5, surrogate=Triangle()), torch.zeros(2, 2, 3, 4, 4), torch.ones(2, 3)
CALLS = {
    "pooled": lambda: sresnet.nn.pooled(torch.zeros(2, 3, 4, 5)),
    "readout": lambda: sresnet.nn.Readout(3, 2)(torch.zeros(2, 3, 4, 5)),
    "encoder": lambda: sresnet.nn.direct(torch.zeros(3, 4, 5), 2),
    "norm": lambda: sresnet.nn.BNTT(3, num_steps=2)(torch.zeros(2, 3, 4, 5)),
    "rows": lambda: NormState(gamma=ROW, running_mean=ROW[0], running_var=ROW),
    "whole numbers": lambda: sresnet.ops.lif.membrane(torch.zeros(2, 3, dtype=torch.int32), NEURON),
    "potential": lambda: sresnet.ops.lif.lif(torch.zeros(2, 3), NEURON, v=torch.zeros(4)),
    "residual": lambda: sresnet.ops.bntt_lif.bntt_lif(X, None, NEURON, residual_current=X[0]),
    "layer": lambda: sresnet.ops.conv_bntt_lif.conv_bntt_lif(X[0], Convolution(torch.zeros(3, 3, 3, 3)), None, NEURON),
}
for name, call in CALLS.items():
    try:
        call()
        print(name, "passes")
    except jaxtyping.TypeCheckError:
        pass
print("all")
"""


def test_another_shape_is_seen():
    done = run(WRONG)
    assert done.stdout == "all\n", done.stdout + done.stderr[-2000:]


def is_bare(hint):
    """A tensor without a shape; functions of tensors apart."""
    return "Tensor" in hint and "Float" not in hint and "Callable" not in hint


def public(module):
    """The functions and methods `forward` of a module's public names."""
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isfunction(value):
            yield name, value
        elif inspect.isclass(value) and "forward" in vars(value):
            yield f"{name}.forward", value.forward


@pytest.mark.parametrize("module", [sresnet.nn, lif, bntt_lif, conv_bntt_lif], ids=lambda module: module.__name__)
def test_no_public_function_takes_a_tensor_without_a_shape(module):
    bare = []
    for name, function in public(module):
        hints = inspect.get_annotations(function, eval_str=False)
        shapeless = [argument for argument, hint in hints.items() if is_bare(str(hint))]
        bare += [f"{name}: {argument}" for argument in shapeless]
    assert not bare
