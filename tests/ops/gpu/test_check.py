"""The comparison with the reference before a variant runs: what passes, what is remembered, what is said.

Faults are planted in the text of the kernels: each of them has to be noticed.
"""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from sresnet.ops.dispatch import implementation
from sresnet.ops.lif import lif as typed_lif
from sresnet.ops.neuron import LIFConstants
from sresnet.ops.scan import choice, native, operator
from sresnet.ops.scan.gpu import variant as variants
from sresnet.ops.surrogate import ArcTan
from sresnet.printing import tell_once
from tests.ops.gpu.conftest import INTERPRETED

DEVICE = torch.device("cpu" if INTERPRETED else "cuda")
EVERYTHING = variants.Variant(
    storage="float32",
    num_steps=3,
    one_step=False,
    channels=3,
    whole=False,
    norm="per-step",
    beta=True,
    training=True,
    learned_leak=True,
    residual_current=True,
    residual_spikes=True,
    v=True,
    return_current=True,
    learns=True,
    surrogate="triangle",
    fires_at_threshold=False,
    detach_reset=True,
    reset="subtract",
    input_scale="one",
    two_ways=True,
)
PLAIN = {"residual_current": False, "residual_spikes": False, "v": False, "return_current": False, "beta": False}
ALONE = PLAIN | {"learned_leak": False}
CHANGES = {
    "everything": {},
    "segments": {"num_steps": 17},
    "bf16": {"storage": "bfloat16"},
    "fp16": {"storage": "float16"},
    "one step": {"one_step": True},
    "over time": {"norm": "over-time"},
    "zero": {"reset": "zero", "input_scale": "one-minus-leak", "detach_reset": False},
    "through the threshold": {"detach_reset": False, "fires_at_threshold": True},
    "rectangle": {"surrogate": "rectangle"},
    "arctan": {"surrogate": "arctan"},
    "sigmoid": {"surrogate": "sigmoid"},
    "fast sigmoid": {"surrogate": "fast-sigmoid"},
    "gaussian": {"surrogate": "gaussian"},
    "evaluation": {"training": False, "learns": False} | PLAIN,
    "norm alone": {"surrogate": "none"} | ALONE,
    "neurons alone": {"norm": "none", "training": False} | ALONE,
}
VARIANTS = {name: EVERYTHING._replace(**change) for name, change in CHANGES.items()}


@pytest.fixture
def check():
    from sresnet.ops.scan.gpu import check

    return check


@pytest.fixture(autouse=True)
def _fresh(monkeypatch, tmp_path):
    """No comparison is remembered, and layers run the kernels if they pass."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(variants, "_known", {})
    if INTERPRETED:
        monkeypatch.setattr(choice, "_lies_on_gpu", lambda x: True)
    tell_once.cache_clear()
    yield
    tell_once.cache_clear()


@pytest.mark.parametrize("name", CHANGES)
def test_the_kernels_pass(name, check):
    assert check._difference(VARIANTS[name], DEVICE) is None


FAULTS = {
    # kernel: what is in its text, what takes its place, the variant that notices
    "coefficients, no eps": (
        "tl.sqrt((var + eps).to(tl.float64))\n    shift",
        "tl.sqrt(var.to(tl.float64))\n    shift",
        "wide eps",
    ),
    "coefficients, shift without mean": (
        "shift = -mean.to(tl.float64) * scale",
        "shift = mean.to(tl.float64) * scale",
        "everything",
    ),
    "statistics, a sum not shifted back": (
        "(shifted.to(tl.float64) + a)",
        "(0 * shifted.to(tl.float64) + a)",
        "everything",
    ),
    "statistics, no mask": ("d = tl.where(here, d, 0.0)", "d = d", "everything"),
    "statistics, mean not taken off the square": ("b - a * a", "b", "everything"),
    "scan, the wrong row of the norm": ("_row(shift_at, g, c, C", "_row(shift_at, 0, c, C", "everything"),
    "scan, reset before the leak": (
        "u = tl.fma(v, leak, current)\n                fired",
        "u = v + current\n                fired",
        "everything",
    ),
    "scan, fires at the threshold's other side": (
        "if FIRES_AT else u > threshold",
        "if FIRES_AT else u < threshold",
        "neurons alone",
    ),
    "scan, no reset": ("after = tl.where(fired, u - _taken(u, threshold, TO_ZERO), u)", "after = u", "neurons alone"),
    "scan, the first potential is forgotten": ("v = _read(v_at + i, inside, WHOLE)", "v = v", "everything"),
    "scan, one bit too far": (
        "word |= tl.where(fired, 1 << k, 0)",
        "word |= tl.where(fired, 2 << k, 0)",
        "neurons alone",
    ),
    "scan, a segment's potential is another's": (
        "between_at + (segment - 1) * size + i, v",
        "between_at + (segment - 1) * size + i, v * 0",
        "segments",
    ),
    "scan, residual spikes left out": (
        "output += _read(residual_spikes_at",
        "output += 0 * _read(residual_spikes_at",
        "everything",
    ),
    "scan_back, the wrong bit": (
        "v = tl.where((word & (1 << k)) != 0",
        "v = tl.where((word & (2 << k)) != 0",
        "neurons alone",
    ),
    "scan_back, dv not handed to the segment before": ("dv = _read(dv_at + i, inside, WHOLE)", "dv = dv", "segments"),
    "scan_back, no leak backwards": (
        "dv = tl.where(t < T, du * leak, dv) if RAGGED else du * leak",
        "dv = du",
        "neurons alone",
    ),
    "scan_back, reset through the threshold": (
        "doutput = tl.fma(dv, -_taken(u, threshold, TO_ZERO), doutput)",
        "doutput = doutput",
        "through the threshold",
    ),
    "scan_back, past a spike that resets to zero": (
        "past = tl.where((word & (1 << k)) != 0, 0.0, dv)",
        "past = dv",
        "zero",
    ),
    "scan_back, scale of the input": ("dy = du * (1.0 - leak) if SCALED else du", "dy = du", "zero"),
    "scan_back, leak from the wrong potential": (
        "if k > 0:\n                            fell",
        "if k > 9:\n                            fell",
        "everything",
    ),
    "scan_back, gradient of the current left out": (
        "dy += _read(dcurrent_at",
        "dy += 0 * _read(dcurrent_at",
        "everything",
    ),
    "scan_back, the second way's gradient left out": (
        "doutput += _read(dagain_at",
        "doutput += 0 * _read(dagain_at",
        "everything",
    ),
    "scan_back, one gradient handed on for two": (
        "_write(dsum_at + step + i, doutput, here, WHOLE)",
        "_write(dsum_at + step + i, 0.5 * doutput, here, WHOLE)",
        "neurons alone",
    ),
    "scan_back, sums of the last tile only": ("later_sums = (sums[k] + dy,)", "later_sums = (dy,)", "everything"),
    "scan_back, one step not summed": (
        "dx = tl.fma(dy, _row(scale_at, g, c, C, BC, PER_STEP), dx)",
        "dx = dy * _row(scale_at, g, c, C, BC, PER_STEP)",
        "one step",
    ),
    "leak_sum, the first only": (
        "tl.store(dleak_at, tl.sum(total, 0)",
        "tl.store(dleak_at, tl.max(total, 0)",
        "everything",
    ),
    "gradient_coefficients, no mean of the gradient": ("(-scale * dy * share)", "(0.0 * dy * share)", "everything"),
    "norm_back, the wrong centre": (
        "- _row(mean_at, t, c, C, BC, PER_STEP)\n    dx",
        "- 0 * _row(mean_at, t, c, C, BC, PER_STEP)\n    dx",
        "everything",
    ),
    "slope, rectangle": ("tl.where(distance < 1.0, height, 0.0)", "tl.where(distance < 2.0, height, 0.0)", "rectangle"),
    "slope, sigmoid": ("4.0 * height * e", "height * e", "sigmoid"),
    "slope, gaussian": ("tl.exp(-0.5 * z * z)", "tl.exp(-z * z)", "gaussian"),
    "slope, arctan": ("height / tl.fma(z, z, 1.0)", "height / tl.fma(z, z, 2.0)", "arctan"),
}


def planted(monkeypatch, tmp_path, before, after):
    """The kernels with a fault: a module made of their text."""
    from sresnet.ops.scan.gpu import kernels, launch

    text = Path(kernels.__file__).read_text(encoding="utf-8")
    assert text.count(before) == 1, before
    path = tmp_path / "faulty_kernels.py"
    path.write_text(text.replace(before, after))
    spec = importlib.util.spec_from_file_location("faulty_kernels", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "faulty_kernels", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(launch, "kernels", module)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numpy in the interpreter, where a fault divides by zero
@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_noticed(name, check, monkeypatch, tmp_path):
    before, after, noticed = FAULTS[name]
    variant = VARIANTS.get(noticed, EVERYTHING)
    planted(monkeypatch, tmp_path, before, after)
    if noticed == "wide eps":  # the paper's is small beside any variance
        case = check._Case.norm
        import dataclasses

        monkeypatch.setattr(check._Case, "norm", lambda *given: dataclasses.replace(case(*given), eps=0.5))
    assert check._difference(variant, DEVICE)


def spikes():
    """A layer of neurons, by whatever computes it, and its gradient."""
    torch.manual_seed(0)
    x = (torch.randn(4, 10, device=DEVICE) * 2).requires_grad_()
    out = typed_lif(x, LIFConstants(leak=0.8, surrogate=ArcTan())).spikes
    return out.detach(), torch.autograd.grad(out.cumsum(0).sum(), x)[0]


@pytest.fixture
def runs(monkeypatch):
    """How often the kernels ran for a layer, the comparison apart."""
    count, scan = [], operator.engine_of

    def counted(x):
        count.append(1)
        return scan(x)

    monkeypatch.setattr(operator, "engine_of", counted)
    return count


def test_a_layer_runs_the_kernels_once_they_passed(runs, check, monkeypatch, capsys):
    compared = []
    difference = check._difference
    monkeypatch.setattr(check, "_difference", lambda *given: (compared.append(given), difference(*given))[1])
    first, again = spikes(), spikes()
    assert len(compared) == 1
    assert runs
    assert capsys.readouterr().err == ""
    with implementation("reference"):
        right = spikes()
    for one, two, three in zip(first, again, right, strict=True):
        assert torch.equal(one, two)
        torch.testing.assert_close(one, three)
    # Another process finds it in the cache.
    monkeypatch.setattr(variants, "_known", {})
    spikes()
    assert len(compared) == 1
    (file,) = native._cache_folder().iterdir()
    assert file.name.startswith("triton-")
    assert file.read_text().count("\n") == 1
    file.write_text("\0\n" + file.read_text()[:-9])  # cut short: compared again
    monkeypatch.setattr(variants, "_known", {})
    spikes()
    assert len(compared) == 2


def test_where_nothing_can_be_kept_it_is_compared_in_each_process(monkeypatch, tmp_path, check):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert variants.passes(VARIANTS["neurons alone"], DEVICE)


def test_a_wrong_kernel_leaves_its_layers_to_the_reference(runs, monkeypatch, tmp_path, capsys):
    planted(monkeypatch, tmp_path, "after = tl.where(fired, u - _taken(u, threshold, TO_ZERO), u)", "after = u * 0.9")
    ours = spikes()
    assert not runs
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "a Triton kernel fails its comparison with the reference on" in said
    assert "output differs by 1 where the largest value is 1" in said
    assert "Please report this line: torch" in said
    assert "surrogate=arctan" in said
    with implementation("reference"):
        assert all(map(torch.equal, ours, spikes()))
    # Others are told of once, and nothing that failed is remembered.
    assert not variants.passes(VARIANTS["neurons alone"]._replace(num_steps=4), DEVICE)
    assert capsys.readouterr().err == ""
    assert not any(path.name.startswith("triton-") for path in native._cache_folder().iterdir())


@pytest.mark.parametrize(
    "error", [RuntimeError("Failed to find C compiler.\nPlease specify"), TypeError("no such option"), OSError("full")]
)
def test_what_does_not_compile_leaves_its_layers_to_the_reference(error, runs, monkeypatch, capsys):
    from sresnet.ops.scan.gpu import launch

    class Broken:
        def __getitem__(self, grid):
            raise error

    class Kernels:
        scan = Broken()

    monkeypatch.setattr(launch, "kernels", Kernels)
    spikes()
    assert not runs
    assert f"{type(error).__name__}: {' '.join(str(error).split())}" in capsys.readouterr().err


def test_too_little_memory_is_no_difference(monkeypatch, check):
    def full(*given):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(check, "_difference", full)
    with pytest.raises(torch.OutOfMemoryError):
        spikes()


def test_those_asked_for_by_name_are_not_compared(runs, monkeypatch, check):
    monkeypatch.setattr(check, "_difference", None)  # would fail
    with implementation("triton"):
        spikes()
    assert runs


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of torch.compile, about torch
def test_compiled_code_is_compared_too(runs, check):
    compiled = torch.compile(
        lambda x: typed_lif(x, LIFConstants(leak=0.8, surrogate=ArcTan())).spikes, backend="eager", fullgraph=True
    )
    x = torch.randn(4, 10, device=DEVICE)
    with implementation("reference"):
        right = typed_lif(x, LIFConstants(leak=0.8, surrogate=ArcTan())).spikes
    assert torch.equal(compiled(x), right)
    assert list(variants._known.values()) == [True]
    assert runs
