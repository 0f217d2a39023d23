"""Neurons, norms and surrogates of one's own, hooks, torch.func and pruning: in every engine."""

import contextlib
from dataclasses import dataclass, is_dataclass, replace

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.nn.utils import prune

import sresnet
from sresnet.errors import UserError
from sresnet.nn import BNTT, Neuron, OwnNeuron, OwnNorm, register_neuron, register_norm, register_surrogate, spike
from sresnet.nn.neuron import OWN_NEURONS
from sresnet.nn.norm import OWN_NORMS
from sresnet.ops.dispatch import IMPLEMENTATIONS, implementation
from sresnet.ops.neuron import LIFConstants
from sresnet.ops.scan import contract
from sresnet.ops.surrogate import OWN_SURROGATES, Triangle
from sresnet.printing import tell_once

CONNECTIONS = ["s2s", "s2m", "v2v", "none"]


class OwnLIF(nn.Module):
    """LIF once more, as somebody would write it."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, current, v):
        v = torch.zeros_like(current[0]) if v is None else v
        spikes = []
        for x in current:
            u = self.config.leak * v + self.gain * x
            o = spike(u, self.config.threshold, self.config.surrogate, self.config.fires_at_threshold)
            v = u - self.config.threshold * o.detach()
            spikes.append(o)
        return torch.stack(spikes), v


def plain_norm(config, channels):
    """The norm "none", as a function."""
    return lambda x, first_step: x


@dataclass(frozen=True)
class OwnTriangle:
    height: float
    width: float
    center: float

    def derivative(self, x):
        return self.height * (1 - x.abs() / self.width).clamp(min=0)


register_neuron("own-lif", OwnLIF)
register_norm("own-none", plain_norm)
register_surrogate("own-triangle", OwnTriangle)


def twins(fields, own, connection="s2s"):
    """A network of the package and one with a part of one's own, with the same weights."""
    made = {"base_filters": 4, "num_steps": 3, "connection": connection} | fields
    torch.manual_seed(3)
    theirs = sresnet.create_model("sresnet8", **made)
    torch.manual_seed(3)
    return theirs, sresnet.create_model("sresnet8", **made | own)


@pytest.mark.parametrize("connection", CONNECTIONS)
@pytest.mark.parametrize(
    ("fields", "own"),
    [
        ({}, {"neuron": "own-lif"}),
        ({"norm": "none"}, {"norm": "own-none"}),
        ({}, {"surrogate": "own-triangle"}),
        ({"norm": "none", "skip": "spiking"}, {"norm": "own-none", "neuron": "own-lif", "surrogate": "own-triangle"}),
    ],
    ids=["neuron", "norm", "surrogate", "all"],
)
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_a_part_of_ones_own_is_computed_as_that_of_the_package(name, fields, own, connection):
    if connection == "v2v" and "skip" in fields:
        fields = fields | {"skip": "plain"}
    theirs, ours = twins(fields, own, connection)
    x = torch.randn(2, 3, 8, 8)
    with implementation("reference"):
        expected = theirs(x)
        expected.square().sum().backward()
    with implementation(name):
        scores = ours(x)
        scores.square().sum().backward()
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)
    known = dict(ours.named_parameters())
    for key, parameter in theirs.named_parameters():
        torch.testing.assert_close(known[key].grad, parameter.grad, rtol=1e-3, atol=1e-4)


def test_it_is_trained_streamed_recorded_saved_and_left_early(tmp_path):
    _, model = twins({}, {"neuron": "own-lif"})
    x = torch.randn(2, 3, 8, 8)
    model(x).square().sum().backward()
    assert all(module.steps.gain.grad != 0 for _, module in model.named_neurons())
    model.eval()
    state = None
    for _ in range(3):
        scores, state = model.step(x, state)
    torch.testing.assert_close(scores, model(x))
    scores, records = model(x, record=model.neuron_names)
    assert set(records["stem.neuron"].spikes.unique().tolist()) == {0.0, 1.0}
    assert records["stem.neuron"].membrane is None
    sresnet.save_model(model, tmp_path / "weights.safetensors")
    assert torch.equal(sresnet.load(tmp_path / "weights.safetensors")(x), model(x))
    from sresnet.analysis.exits import run_early_exit
    from sresnet.models.summary import summarise

    found, steps = run_early_exit(model, x, threshold=0.9, temperatures=(1.0,) * 3)
    assert found.shape == (2, 10)
    assert steps.max() <= 3
    assert summarise(model.config).neurons == summarise(twins({}, {})[0].config).neurons


def test_what_does_not_go_with_it_is_refused():
    from sresnet.analysis.hardware import hardware_view
    from sresnet.models.int8 import to_int8

    _, model = twins({}, {"neuron": "own-lif"})
    with pytest.raises(UserError, match="neurons or norms of your own have no hardware view"):
        hardware_view(model, (8, 8))
    for own in ({"neuron": "own-lif"}, {"norm": "own-none"}, {"surrogate": "own-triangle"}):
        _, model = twins({}, own)
        with pytest.raises(UserError, match="the compiled kernel, which knows no neurons, norms or surrogates of your"):
            to_int8(model)


def test_that_it_has_no_kernel_is_said_once(capsys):
    tell_once.cache_clear()
    for _ in range(2):
        twins({}, {"neuron": "own-lif", "norm": "own-none", "surrogate": "own-triangle"})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "neurons of kind 'own-lif' have no kernel: their layers run in PyTorch" in lines[0] + lines[1]
    assert "norm 'own-none' has no kernel" in lines[0] + lines[1]
    twins({}, {"surrogate": "own-triangle"})
    assert "surrogate OwnTriangle has no kernel" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: register_neuron("lif", OwnLIF), "neuron 'lif' comes with the package"),
        (lambda: register_norm("bntt", plain_norm), "norm 'bntt' comes with the package"),
        (lambda: register_surrogate("arctan", OwnTriangle), "surrogate 'arctan' comes with the package"),
        (lambda: twins({}, {"neuron": "own-liff"}), "neuron 'own-liff' is unknown: did you mean 'own-lif'"),
        (lambda: twins({}, {"norm": "own-nono"}), "norm 'own-nono' is unknown: did you mean 'own-none'"),
        (lambda: twins({}, {"surrogate": "round"}), "surrogate 'round' is unknown: choose from .*own-triangle"),
    ],
)
def test_names(call, words):
    with pytest.raises(UserError, match=words):
        call()


def test_a_name_may_be_given_again():
    register_surrogate("own-triangle", lambda *numbers: Triangle())
    assert OWN_SURROGATES["own-triangle"](1, 1, 1) == Triangle()
    register_surrogate("own-triangle", OwnTriangle)


def test_a_constant_that_a_kernel_does_not_know_is_left_to_the_reference(monkeypatch):
    neuron = LIFConstants(leak=0.5, surrogate=Triangle())
    assert contract.supports(neuron)
    (field,) = [field for field in LIFConstants.__dataclass_fields__.values() if field.name == "threshold"]
    monkeypatch.setattr(contract, "LATER", [field])  # as a kernel that has no threshold
    assert contract.supports(neuron)
    assert not contract.supports(LIFConstants(leak=0.5, surrogate=Triangle(), threshold=2.0))


HOOKS = ["forward_hook", "forward_pre_hook", "full_backward_hook", "full_backward_pre_hook"]
PARTS = ["stem.conv", "stem.norm", "stem.neuron", "stage2_block1.conv1", "stage2_block1.norm2"] + [
    f"stage2_block1.{name}" for name in ("neuron1", "neuron2", "skip.conv", "skip.norm")
]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_every_hook_of_every_part_is_called_once(name, part):
    model, _ = twins({}, {})
    x, calls = torch.randn(2, 3, 8, 8, requires_grad=True), []
    with implementation(name):
        expected = model(x)
        for hook in HOOKS:
            getattr(model.layers.get_submodule(part), f"register_{hook}")(lambda *_, hook=hook: calls.append(hook))
        scores = model(x)
        scores.sum().backward()
    assert sorted(calls) == sorted(HOOKS)
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_hooks_for_all_modules_are_called_for_every_part(name):
    model, _ = twins({}, {})
    seen, places = [], {module: name for name, module in model.named_modules()}
    handle = nn.modules.module.register_module_forward_hook(lambda module, *_: seen.append(places[module]))
    try:
        with implementation(name):
            model(torch.randn(2, 3, 8, 8))
    finally:
        handle.remove()
    wanted = {name for name, module in model.named_modules() if isinstance(module, nn.Conv2d | BNTT | Neuron)}
    assert wanted <= set(seen)
    assert len(seen) == len(set(seen))


def test_a_subclass_of_a_part_is_called():
    class Doubled(Neuron):
        def forward(self, current, state=None):
            return 2 * super().forward(current, state)

    model, _ = twins({}, {})
    layer = model.layers["stem"]
    layer.neuron = Doubled(layer.neuron.config)
    seen = []
    model.layers["stage1_block1"].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].spikes))
    model(torch.randn(2, 3, 8, 8))
    assert set(seen[0].unique().tolist()) == {0.0, 2.0}


def test_gradients_of_each_image_by_torch_func():
    model, _ = twins({}, {})
    model.eval()
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    buffers = dict(model.named_buffers())
    images, labels = torch.randn(3, 3, 8, 8), torch.tensor([1, 0, 7])

    def loss(parameters, image, label):
        scores = torch.func.functional_call(model, (parameters, buffers), (image[None],))
        return nn.functional.cross_entropy(scores, label[None])

    found = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(parameters, images, labels)
    for i in range(3):
        expected = torch.autograd.grad(
            nn.functional.cross_entropy(model(images[i : i + 1]), labels[i : i + 1]), list(model.parameters())
        )
        for name, gradient in zip(parameters, expected, strict=True):
            torch.testing.assert_close(found[name][i], gradient, rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # of torch, in torch
def test_forward_mode_by_torch_func():
    model, _ = twins({}, {})
    model.eval().double()
    image, direction = torch.randn(2, 1, 3, 8, 8, dtype=torch.float64)
    _, tangent = torch.func.jvp(model, (image,), (direction,))
    jacobian = torch.func.jacrev(model)(image)
    torch.testing.assert_close(tangent, (jacobian * direction).sum((-4, -3, -2, -1)))


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # of torch, in torch
def test_forward_mode_without_torch_func_and_second_derivatives_in_the_reference():
    model, _ = twins({}, {})
    model.eval().double()
    image, direction = torch.randn(2, 1, 3, 8, 8, dtype=torch.float64)
    _, expected = torch.func.jvp(model, (image,), (direction,))
    model.float()
    with forward_ad.dual_level():
        dual = model(forward_ad.make_dual(image.float(), direction.float()))
        tangent = forward_ad.unpack_dual(dual).tangent
    torch.testing.assert_close(tangent.double(), expected, rtol=1e-3, atol=1e-3)
    image = image.float().requires_grad_()
    with implementation("reference"):
        (gradient,) = torch.autograd.grad(model(image).square().sum(), image, create_graph=True)
    gradient.square().sum().backward()
    assert image.grad.abs().sum() > 0


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
@pytest.mark.parametrize("permanent", [False, True])
def test_pruning(permanent, name, tmp_path):
    model, _ = twins({}, {})
    model.to(memory_format=torch.contiguous_format)  # prune.l1_unstructured views weights as one row
    conv = model.layers["stage1_block1"].conv1
    dense = conv.weight.detach().clone()
    prune.l1_unstructured(conv, "weight", amount=0.75)
    mask = conv.weight_mask.clone()
    if permanent:
        prune.remove(conv, "weight")
    x = torch.randn(2, 3, 8, 8)
    with implementation(name):
        scores = model(x)
        scores.square().sum().backward()
    other, _ = twins({}, {})
    with torch.no_grad():
        other.layers["stage1_block1"].conv1.weight.copy_(dense * mask)
    torch.testing.assert_close(scores, other(x), rtol=1e-4, atol=1e-5)
    assert mask.mean() == pytest.approx(0.25)
    if permanent:
        sresnet.save_model(model, tmp_path / "weights.safetensors")
        assert torch.equal(sresnet.load(tmp_path / "weights.safetensors")(x), model.eval()(x))
    else:
        assert (conv.weight_orig.grad[mask == 0] == 0).all()
        with pytest.raises(UserError, match="weight of layers.stage1_block1.conv1 is made by pruning"):
            sresnet.save_model(model, tmp_path / "weights.safetensors")
        assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of torch.compile, about torch
def test_neurons_of_ones_own_compile():
    _, model = twins({}, {"neuron": "own-lif"})
    x = torch.randn(2, 3, 8, 8)
    model.eval()
    with contextlib.nullcontext(), torch.no_grad():
        torch.testing.assert_close(torch.compile(model, backend="eager")(x), model(x))
    assert isinstance(model.layers["stem"].neuron, OwnNeuron)


WRONG_NEURONS = {
    "spikes alone": (lambda config: lambda current, v: current, "'wrong' gives Tensor: expected two values"),
    "no pair": (lambda config: lambda current, v: (current, v, v), "'wrong' gives tuple: expected two values"),
    "one step": (lambda config: lambda current, v: (current[:1], v), "gives .1, 2, 4, 8, 8.: .* .3, 2, 4, 8, 8."),
    "bool": (lambda config: lambda current, v: (current > 1, v), "gives torch.bool, through which no gradient passes"),
    "no tensor": (lambda config: lambda current, v: (None, v), "gives NoneType: expected real numbers"),
    "state of two": (lambda config: lambda current, v: (current, (current[0],)), "leaves tuple for the next call"),
    "state without N": (lambda config: lambda current, v: (current, current), "leaves .3, 2, 4, 8, 8. .* here N = 2"),
    "one argument": (lambda config: lambda current: (current, None), r"neuron 'wrong' takes \(current\)"),
    "not a function": (lambda config: None, "neuron 'wrong' is of type NoneType: expected a function of .current, v."),
    "a module": (lambda config: nn.ReLU(), r"neuron 'wrong' takes \(input.*: expected a function"),
    "made without configuration": (lambda: None, r"make of neuron 'wrong' takes \(\): .* of \(config\)"),
    "not made": (5, "make of neuron 'wrong' is of type int"),
}


@pytest.mark.parametrize(("make", "words"), WRONG_NEURONS.values(), ids=WRONG_NEURONS)
def test_neurons_that_give_something_else_are_refused_in_one_line(make, words):
    def use():
        register_neuron("wrong", make)
        twins({}, {"neuron": "wrong"})[1](torch.randn(2, 3, 8, 8))

    with pytest.raises(UserError, match=words) as refusal:
        use()
    assert "\n" not in str(refusal.value)


WRONG_NORMS = {
    "mean over N": (lambda config, channels: lambda x, first: x.mean(1, True), r"norm 'wrong' gives \[3, 1, 4, 8, 8\]"),
    "whole numbers": (lambda config, channels: lambda x, first: x.int(), "norm 'wrong' gives torch.int32"),
    "torch's": (lambda config, channels: nn.BatchNorm2d(channels), "norm 'wrong' takes .* of .x, first_step."),
    "made of one argument": (lambda config: None, r"make of norm 'wrong' takes \(config\)"),
}


@pytest.mark.parametrize(("make", "words"), WRONG_NORMS.values(), ids=WRONG_NORMS)
def test_a_norm_that_gives_something_else_is_refused_in_one_line(make, words):
    def use():
        register_norm("wrong", make)
        twins({}, {"norm": "wrong"})[1](torch.randn(2, 3, 8, 8))

    with pytest.raises(UserError, match=words) as refusal:
        use()
    assert "\n" not in str(refusal.value)


def surrogate(derivative, **fields):
    """A `make` of surrogates."""
    return lambda height, width, center: type("Odd", (), {"derivative": derivative} | fields)()


WRONG_SURROGATES = {
    "one row": (surrogate(lambda self, x: x[0], center=1.0), r"Odd gives \[16, 2, 2\]: .* \[2, 16, 2, 2\]"),
    "nothing": (surrogate(lambda self, x: None, center=1.0), "derivative of surrogate Odd gives NoneType"),
    "no center": (surrogate(lambda self, x: x), "surrogate Odd has center None: expected where it peaks"),
    "no derivative": (surrogate(None, center=1.0), "derivative of surrogate Odd is of type NoneType"),
    "made of names": (
        lambda *, height, width, center: None,
        r"takes \(\*, height, width, center\): expected a function",
    ),
}


@pytest.mark.parametrize(("make", "words"), WRONG_SURROGATES.values(), ids=WRONG_SURROGATES)
def test_a_surrogate_that_gives_something_else_is_refused_in_one_line(make, words):
    def use():
        register_surrogate("wrong", make)
        twins({}, {"surrogate": "wrong"})[1](torch.randn(2, 3, 8, 8)).sum().backward()

    with pytest.raises(UserError, match=words) as refusal:
        use()
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("register", [register_neuron, register_norm, register_surrogate])
@pytest.mark.parametrize("name", ["", " ", 5, None])
def test_what_is_no_name_is_refused(register, name):
    with pytest.raises(UserError, match="is not a name"):
        register(name, lambda *arguments: None)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("part", [None, "neuron", "norm", "conv", "hook on neuron", "hook on norm", "record"])
def test_weights_in_half_precision_where_the_modules_are_called(part, dtype):
    own = {"neuron": {"neuron": "own-lif"}, "norm": {"norm": "own-none"}}.get(part, {})
    fields = {"skip": "spiking", "norm": "none" if part == "norm" else "bntt"}
    theirs, ours = (model.to(dtype).eval() for model in twins(fields, own))
    x = torch.randn(2, 3, 8, 8).to(dtype)
    if part in ("hook on neuron", "hook on norm", "conv"):
        for module in ours.modules():
            if isinstance(module, {"conv": nn.Conv2d, "hook on norm": BNTT}.get(part, Neuron)):
                module.register_forward_hook(lambda *arguments: None)
    scores = ours(x, record=ours.neuron_names)[0] if part == "record" else ours(x)
    assert scores.dtype == dtype
    with implementation("reference"):
        assert torch.equal(scores, theirs(x))


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
@pytest.mark.parametrize(
    "put",
    [
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
        nn.utils.parametrizations.weight_norm,
        nn.utils.parametrizations.spectral_norm,
    ],
    ids=["weight_norm by hook", "spectral_norm by hook", "weight_norm", "spectral_norm"],
)
def test_what_makes_a_weight_anew_works_and_is_not_saved_in_a_file_that_nobody_could_load(put, tmp_path):
    scores = []
    for name in IMPLEMENTATIONS:
        model, _ = twins({}, {})
        torch.manual_seed(0)
        put(model.layers["stem"].conv)
        put(model.layers["stage2_block1"].skip.conv)
        with implementation(name):
            scores.append(model(torch.ones(2, 3, 8, 8)))
        with pytest.raises(UserError, match="weight of layers.stem.conv is made by pruning or a parametrisation"):
            sresnet.save_model(model, tmp_path / "weights.safetensors")
    torch.testing.assert_close(scores[0], scores[2], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scores[1], scores[2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "part"), [("stem", "norm"), ("stem", "neuron"), ("stage2_block1", "norm"), ("stage2_block1", "neuron")]
)
def test_one_part_of_a_network_is_replaced(layer, part):
    """In the skip too; a bare module would be given no potentials in a stream, so it is refused."""
    fields = {"norm": "none", "skip": "spiking"}
    theirs, ours = twins(fields, {})
    where = ours.layers[layer] if layer == "stem" else ours.layers[layer].skip
    if part == "norm":
        made, wrapped = nn.Identity(), OwnNorm(lambda x, first: x)
    else:
        made = OwnLIF(where.neuron.config)
        wrapped = OwnNeuron(made)
    x = torch.randn(2, 3, 8, 8)
    setattr(where, part, wrapped)
    state = None
    for _ in range(3):
        scores, state = ours.step(x, state)
    torch.testing.assert_close(scores, theirs(x), rtol=1e-4, atol=1e-5)
    setattr(where, part, made)
    with pytest.raises(UserError, match="(Identity is no norm over time steps|OwnLIF is no layer of neurons): Own"):
        ours(x)


def test_the_command_line_of_a_program_that_registers_them(tmp_path, capsys, monkeypatch):
    from sresnet.cli import main
    from sresnet.config import to_dict
    from sresnet.files import write_json
    from sresnet.train.recipes import RECIPES

    monkeypatch.setattr("sresnet.config.closest", lambda value, choices: "choose from others")
    run = tmp_path / "run"
    run.mkdir()
    words = {"neuron": "own-lif", "norm": "own-none", "surrogate": "own-triangle"}
    (recipe,) = (part for part in RECIPES["digits"] if is_dataclass(part))
    write_json(run / "config.json", to_dict(replace(recipe, model=replace(recipe.model, **words))))
    assert main(["info", str(run)]) == 0
    capsys.readouterr()
    for name, register, known in (
        ("own-lif", "register_neuron", OWN_NEURONS),
        ("own-none", "register_norm", OWN_NORMS),
        ("own-triangle", "register_surrogate", OWN_SURROGATES),
    ):
        with monkeypatch.context() as patch:
            patch.delitem(known, name)
            assert main(["info", str(run)]) == 2
        assert (
            f"{name!r} is unknown: choose from others, or call sresnet.nn.{register} before" in capsys.readouterr().err
        )


@pytest.mark.parametrize("where", ["stem", "block", "skip"])
@pytest.mark.parametrize(
    "options",
    [
        {"bias": True},
        {"groups": 2},
        {"dilation": 2},
        {"padding_mode": "reflect"},
        {"padding": "same", "stride": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_a_convolution_of_torch_in_place_of_ours_is_computed_with_all_that_it_has(name, options, where):
    """The op has no bias, groups, dilation or other padding; a wrapper is called as it is."""
    from sresnet.analysis.hardware import hardware_view
    from sresnet.models.int8 import to_int8

    scores, rounded = [], []
    for wrapped in (False, True):
        torch.manual_seed(0)
        model = sresnet.create_model("sresnet8", base_filters=4, num_steps=3, in_channels=4).eval()
        block = model.layers["stem" if where == "stem" else "stage2_block1"]
        owner = block.skip if where == "skip" else block
        part = "conv2" if where == "block" else "conv"
        ours = getattr(owner, part)
        given = {
            "kernel_size": 3,
            "stride": ours.stride,
            "padding": options.get("dilation", 1),
            "bias": False,
        } | options
        made = nn.Conv2d(ours.in_channels, ours.out_channels, **given | options)
        setattr(owner, part, nn.Sequential(made) if wrapped else made)
        x = torch.ones(2, 4, 8, 8)
        with implementation(name):
            scores.append(model(x))
        if name == "fastest":
            rounded.append(to_int8(model)(x))
    assert torch.equal(*scores)
    assert not rounded or torch.equal(*rounded)
    with pytest.raises(UserError, match="convolution of your own"):
        hardware_view(model, (8, 8))


@pytest.mark.parametrize("made", [nn.Sequential(nn.Conv2d(3, 4, 3, padding=1)), nn.Conv2d(3, 4, 3, padding=1)], ids=str)
def test_a_replaced_part_that_no_file_could_bring_back_is_not_saved(made, tmp_path):
    model, _ = twins({}, {})
    model.layers["stem"].conv = made
    with pytest.raises(
        UserError, match=r"stem.conv.*, unknown to this network.*; a part of it was replaced"
    ) as refusal:
        sresnet.save_model(model, tmp_path / "weights.safetensors")
    assert "\n" not in str(refusal.value)
    assert not list(tmp_path.iterdir())
