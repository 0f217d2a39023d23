"""The kernels compiled for GPUs that are not there: registers, spills, atomics and loads, read off the machine code.

The launches are not written down here: layers run on tensors without memory ("meta") while each kernel is replaced by a
recorder, so what is compiled is what a training step launches, with Triton's own rules of what is a constant.
"""

import collections
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch

from sresnet.ops.conv_bntt_lif import Convolution, conv_batch_norm, conv_bntt_lif
from sresnet.ops.neuron import LIFConstants
from sresnet.ops.norm import NormState
from sresnet.ops.scan import choice, operator
from sresnet.ops.surrogate import SURROGATES

TYPES = {
    torch.float32: "fp32",
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
    torch.int8: "i8",
    torch.int16: "i16",
}
OPTIONS = ("num_warps", "enable_fp_fusion")
CAPABILITIES = (80, 90)


class Launch(NamedTuple):
    """A kernel and what it is launched with, by name."""

    kernel: Any
    arguments: dict[str, Any]


class Recorder:
    """Stands for a kernel and notes its launches."""

    def __init__(self, kernel, launches):
        self.kernel, self.launches = kernel, launches

    def __getitem__(self, grid):
        def launch(*given, **named):
            self.launches.append(Launch(self.kernel, dict(zip(self.kernel.arg_names, given, strict=False)) | named))

        return launch


@pytest.fixture
def launches(monkeypatch):
    """Of layers on meta tensors."""
    from sresnet.ops.scan.gpu import kernels, launch

    found = []
    monkeypatch.setattr(choice, "_lies_on_gpu", lambda x: x.is_meta)
    monkeypatch.setattr(operator, "passes", lambda values, device: True)
    recorders = {name: Recorder(each, found) for name, each in vars(kernels).items() if hasattr(each, "arg_names")}
    monkeypatch.setattr(launch, "kernels", SimpleNamespace(**recorders))
    return found


def specialised(value):
    """Type in a signature, constant and attributes of an argument, as Triton's launcher would have them."""
    if isinstance(value, torch.Tensor):
        return "*" + TYPES[value.dtype], None, [["tt.divisibility", 16]]
    if isinstance(value, bool | str) or value is None or (isinstance(value, int) and value == 1):
        return "constexpr", value, []
    if isinstance(value, int):
        return "i32" if value < 2**31 else "i64", None, [["tt.divisibility", 16]] if value % 16 == 0 else []
    if isinstance(value, float):
        return "fp32", None, []
    assert isinstance(value, tuple)
    return tuple(specialised(each)[0] for each in value), None, []


def compiled(launch, capability):
    """The machine code of a launch."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature, constants, attributes = {}, {}, {}
    for number, parameter in enumerate(launch.kernel.params):
        value = launch.arguments[parameter.name]
        if parameter.is_constexpr:
            signature[parameter.name], constants[parameter.name] = "constexpr", value
            continue
        kind, constant, given = specialised(value)
        signature[parameter.name] = kind
        if kind == "constexpr":
            constants[parameter.name] = constant
        if given:
            attributes[(number,)] = given
        if isinstance(kind, tuple):
            attributes |= {(number, k): [["tt.divisibility", 16]] for k in range(len(kind))}
    source = ASTSource(fn=launch.kernel, signature=signature, constexprs=constants, attrs=attributes)
    options = {name: launch.arguments[name] for name in OPTIONS if name in launch.arguments}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


class Report(NamedTuple):
    """What the machine code of a kernel says about itself."""

    registers: int
    spilled: int
    atomics: int
    barrier: bool
    """One that is written in the kernel; sums have others."""
    loads: collections.Counter[str]
    """Width in bits -> loads from global memory."""


def report(code, folder):
    import triton

    (folder / "kernel.cubin").write_bytes(code.asm["cubin"])
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"

    def said(flag):
        return subprocess.run([tool, flag, folder / "kernel.cubin"], capture_output=True, text=True, check=True).stdout

    found = dict(re.findall(r"(REG|STACK|LOCAL):(\d+)", said("--dump-resource-usage")))
    names = re.findall(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\d+ )?([A-Z0-9_.]+)", said("--dump-sass"), re.MULTILINE)
    assert len(names) > 20
    kinds = collections.Counter(name.split(".")[0] for name in names)
    widths = ("128", "64", "U16", "U8", "S8", "S16")
    loads = [name.split(".") for name in names if name.startswith("LDG")]
    return Report(
        registers=int(found["REG"]),
        spilled=kinds["LDL"] + kinds["STL"],
        atomics=kinds["ATOM"] + kinds["ATOMG"] + kinds["RED"],
        barrier="barrier" in code.asm["ttir"],
        loads=collections.Counter(next((w for w in widths if w in parts), "32") for parts in loads),
    )


class Setting(NamedTuple):
    """A layer, of batch 128 unless it is odd."""

    T: int
    side: int
    channels: int
    dtype: torch.dtype
    kind: str
    """s2s, s2m, v2v: the connection; none; stem: direct encoding; skip: a norm alone; plif: leak and all that learns;
    evaluation: no gradients."""
    surrogate: str = "triangle"
    odd: bool = False


BF16 = torch.bfloat16
SETTINGS = {
    "the paper's size": Setting(50, 32, 32, BF16, "s2s"),
    "stem": Setting(50, 32, 32, BF16, "stem"),
    "deep": Setting(50, 8, 128, BF16, "s2m"),
    "skip": Setting(50, 16, 64, BF16, "skip"),
    "plif": Setting(4, 32, 32, torch.float16, "plif"),
    "v2v": Setting(4, 32, 16, torch.float32, "v2v", surrogate="sigmoid"),
    "odd": Setting(17, 5, 17, BF16, "s2s", surrogate="gaussian", odd=True),
    "evaluation": Setting(50, 32, 32, BF16, "evaluation"),
}


def step(setting):
    """A training step of a layer behind a 1x1 convolution, on tensors without memory."""
    T, side, C, dtype, kind, surrogate, odd = setting
    batch, meta = 3 if odd else 128, {"device": "meta"}

    def stream(steps, channels=C):
        shape = (steps, batch, side, side, channels)
        return torch.empty(shape, dtype=dtype, **meta).movedim(-1, -3).requires_grad_(kind != "evaluation")

    gamma, mean, var = (torch.empty(T, C, **meta) for _ in range(3))
    gamma.requires_grad_(kind != "evaluation")
    norm = NormState(gamma=gamma, running_mean=mean, running_var=var, training=kind != "evaluation")
    weight = torch.empty(C, C, 1, 1, **meta, requires_grad=kind != "evaluation")
    plif = kind == "plif"
    neuron = LIFConstants(
        leak=torch.empty((), **meta, requires_grad=True) if plif else 0.874,
        surrogate=SURROGATES[surrogate](),
        detach_reset=not plif,
        reset="zero" if plif else "subtract",
        input_scale="one-minus-leak" if plif else "one",
    )
    convolution, x = Convolution(weight), stream(1).expand(T, -1, -1, -1, -1) if kind == "stem" else stream(T)
    if kind == "skip":
        conv_batch_norm(x, convolution, norm).sum().backward()
        return
    with torch.set_grad_enabled(kind != "evaluation"):
        out = conv_bntt_lif(
            x,
            convolution,
            norm,
            neuron,
            residual_current=stream(T) if kind in ("s2m", "v2v") else None,
            residual_spikes=stream(T) if kind == "s2s" else None,
            return_current=kind == "v2v",
        )
    if kind == "evaluation":
        return
    loss = out.output.sum() + (out.current.sum() if kind == "v2v" else 0)
    if kind == "s2s":  # the next layer, whose backward pass needs the spikes again
        loss = conv_bntt_lif(out.output, convolution, norm, neuron, packed=out.packed).output.sum() + out.again.sum()
    loss.backward()


LIMITS = {"scan": 128, "scan_back": 128, "norm_back": 64, "statistics": 64, "unpack": 64}
"""Most registers of a thread: 128 leave four programs of four warps to a multiprocessor."""


@pytest.mark.parametrize("name", SETTINGS)
def test_machine_code(name, launches, tmp_path):
    step(SETTINGS[name])
    kernels = {launch.kernel.__name__: launch for launch in launches}
    expected = {"statistics", "coefficients", "scan", "scan_back", "gradient_coefficients", "norm_back"}
    if name == "evaluation":
        expected = {"coefficients", "scan"}
    if SETTINGS[name].kind == "s2s":
        expected |= {"unpack"}
    if SETTINGS[name].kind == "plif":
        expected |= {"leak_sum"}
    assert kernels.keys() == expected
    for kernel, launch in kernels.items():
        for capability in CAPABILITIES:
            found = report(compiled(launch, capability), tmp_path)
            where = f"{kernel}, sm_{capability}: {found}"
            assert not found.spilled, where
            assert not found.atomics, where
            if kernel == "scan_back" and SETTINGS[name].T > 16:  # what waits in memory between segments is there
                assert found.barrier, where
            if not SETTINGS[name].odd:  # where nothing can be read at once, each value has an address
                most = LIMITS.get(kernel, 255)
                if kernel == "scan_back" and launch.arguments["dagain_at"] is not None and capability == 80:
                    most = 168  # three programs: a second stream of gradients waits for the first
                assert found.registers <= most, where
            if kernel in ("scan", "norm_back") and SETTINGS[name].dtype == BF16 and not SETTINGS[name].odd:
                assert found.loads["128"], where  # eight channels at once


def test_the_launches_of_a_step_do_not_depend_on_values(launches):
    """Nothing is read back, so a step can be captured as a CUDA graph: meta tensors have no values."""
    step(SETTINGS["plif"])
    assert len(launches) == 8
