"""An ANN of anybody's, read: modules of PyTorch -> a wired network of this package that computes the same.

`torch.fx` follows one call of the module. What it finds are the operations that have a spiking counterpart, whoever
called them: modules, functions of `torch.nn.functional`, methods and operators of tensors. Norms are folded into the
weights before them, flattening and dropout leave nothing to do in evaluation, and all else is refused by
name. In the end what was read has to give the module's own scores: hooks, for one, are nothing that torch.fx sees.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn.parameter import is_lazy

from sresnet.convert.drawing import Drawing, check_images, free, pair
from sresnet.errors import UserError
from sresnet.models.network import SpikingNetwork
from sresnet.nn.neuron import ACTIVATION_MODULES
from sresnet.nn.wiring import INPUT, Step, StepKind
from sresnet.printing import one_line


@dataclass
class _Reader:
    """What was read so far."""

    shapes: dict[fx.Node, tuple[int, ...]]
    modules: dict[str, nn.Module]
    uses: dict[fx.Node, int]
    """How many others take a node's value."""
    drawing: Drawing = field(default_factory=Drawing)
    source: dict[fx.Node, str] = field(default_factory=dict)
    """Node -> the step that gives its value, or "input"."""
    maps: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Step -> the shape of what it gives, before anything flattens it."""
    same: dict[fx.Node, fx.Node] = field(default_factory=dict)
    """Node of flattening, dropout and the like -> the one whose values it hands on."""

    def alone(self, node: fx.Node) -> bool:
        """Whether one other node takes a node's values, by whatever name."""
        return self.uses[node] == 1 and (node not in self.same or self.alone(self.same[node]))

    def taken(self, node: fx.Node) -> str:
        """The step that gives a node's first argument."""
        return self.source[_before(node)]

    def step(self, node: fx.Node, kind: StepKind, **sizes: Any) -> None:
        """A step of the node's name that takes its first argument."""
        self.source[node] = self.drawing.add(Step(name=_name(node), kind=kind, inputs=(self.taken(node),), **sizes))


def _name(node: fx.Node) -> str:
    """The name of a node's step: its own, unless no step can have that."""
    return free(node.name, {other.name for other in node.graph.nodes} - {node.name})


class _Run(ShapeProp):
    """A run of a graph that notes the shape of every value, and which values each node changes in place."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.garbage_collect_values = False
        self.changed: dict[fx.Node, list[fx.Node]] = {}
        """Node -> earlier nodes whose values it has changed."""

    def run_node(self, n: fx.Node) -> Any:
        before = {node: value._version for node, value in self.env.items() if isinstance(value, Tensor)}
        result = super().run_node(n)
        self.changed[n] = [node for node, version in before.items() if self.env[node]._version != version]
        return result


class _Tracer(fx.Tracer):
    """Follows a call into modules, but for torch's own and those of registered activations."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in ACTIVATION_MODULES or super().is_leaf_module(m, module_qualified_name)


def _refused(node: fx.Node, what: str, cure: str) -> UserError:
    """The error of a node without a spiking counterpart."""
    where = f"{node.target}" if node.op == "call_module" else f"what gives {node.name}"
    return UserError(f"{where} is {what}, which has no spiking form here: {cure}")


@torch.inference_mode(mode=False)  # what a user's call changes in place has to be seen
def traced(ann: nn.Module, example: Tensor) -> SpikingNetwork:
    """The network of this package that computes what `ann` computes in evaluation mode.

    It is an ANN still: of one time step, with rectifiers, or the activations that it has, for neurons. `rate_coded` and
    others make a spiking one of it.

    Args:
        ann: of Conv2d, Linear, BatchNorm, ReLU (also clipped at 0 and a largest value), SiLU, sigmoid, tanh, GELU,
            average pools, additions, flattening and dropout, called as modules, functions or methods, and modules that
            `sresnet.nn.register_activation` was given. It stays as it is.
        example: images [N, C, H, W] as it takes them; their size is that of all images from then on.

    Raises:
        UserError: an operation without a spiking counterpart, which is named, control flow that torch.fx cannot follow,
            images that the module does not take, an output that is not [N, classes], weights that are not numbers, or
            a module that computes something else than what was read of it.
    """
    ann, scores = _copied(ann), None
    check_images(example)
    if example.ndim != 4:
        raise UserError(
            f"images have shape {list(example.shape)}: expected [N, C, H, W]; vectors are maps of one pixel, "
            "x[:, :, None, None], behind an nn.Flatten"
        )
    with torch.no_grad():
        try:
            scores = ann(example.clone())
        except Exception as error:  # of any kind: the code is the user's
            raise UserError(
                f"{type(ann).__name__} fails on images {list(example.shape)} of {example.dtype} "
                f"({one_line(str(error))}): give images as it takes them"
            ) from error
    if not isinstance(scores, Tensor) or scores.ndim != 2:
        given = list(scores.shape) if isinstance(scores, Tensor) else f"a {type(scores).__name__}"
        raise UserError(f"{type(ann).__name__} gives {given}: expected scores [N, classes]")
    whole = nn.Sequential(ann) if isinstance(ann, tuple(MODULES)) else ann  # it looks into what it is given itself
    try:
        graph = fx.GraphModule(whole, _Tracer().trace(whole))
    except Exception as error:  # of any kind: the code is the user's
        raise UserError(
            f"torch.fx cannot follow {type(ann).__name__} ({one_line(str(error))}): its forward may not branch on "
            "values of tensors; give a module without such branches"
        ) from error
    run = _Run(graph)
    with torch.no_grad():
        run.propagate(example.clone())
    shapes = {node: tuple(node.meta["tensor_meta"].shape) for node in graph.graph.nodes if _is_tensor(node)}
    uses = {node: sum(_is_tensor(user) or user.op == "output" for user in node.users) for node in graph.graph.nodes}
    reader = _Reader(shapes, dict(graph.named_modules()), uses)
    for node in graph.graph.nodes:
        _read(reader, node)
        if node in reader.source and node in shapes:
            reader.maps.setdefault(reader.source[node], shapes[node])
            for changed in run.changed[node]:  # in place: from here on they are what this node gives
                reader.source[changed] = reader.source[node]
    output = next(node for node in graph.graph.nodes if node.op == "output").args[0]
    assert isinstance(output, fx.Node)
    network = reader.drawing.network(
        reader.source[output],
        alone=reader.alone(output),
        in_channels=example.shape[1],
        num_classes=shapes[output][1],
        dtype=example.dtype,
    )
    _check_same(ann, scores, network, example)
    return network


def _copied(ann: nn.Module) -> nn.Module:
    """A copy in evaluation mode; UserError for what is no module, cannot be copied or has no weights yet."""
    if not isinstance(ann, nn.Module):
        raise UserError(f"{one_line(repr(ann))[:80]} is no nn.Module: give a trained module")
    if isinstance(ann, SpikingNetwork):
        raise UserError("a network of this package is no module to be traced: read it with rewired")
    for wrapper, inside in _AROUND.items():
        if type(ann).__name__.endswith(wrapper):
            raise UserError(f"{type(ann).__name__} is around the module to be read: give {inside}")
    tensors = dict([*ann.named_parameters(), *ann.named_buffers()])
    empty = [name for name, tensor in tensors.items() if is_lazy(tensor) or tensor.is_meta]
    if empty:
        raise UserError(f"{empty[0]} of {type(ann).__name__} has no values yet: give a trained module")
    try:
        return copy.deepcopy(ann).eval()
    except Exception as error:  # of any kind: the code is the user's
        raise UserError(
            f"{type(ann).__name__} cannot be copied ({one_line(str(error))}): make weights that hooks compute "
            "permanent, such as with torch.nn.utils.prune.remove or torch.nn.utils.remove_weight_norm"
        ) from error


_AROUND = {
    "OptimizedModule": "its ._orig_mod",
    "DataParallel": "its .module",
    "ScriptModule": "the module it was made of",
}
"""How the class of a module that torch has wrapped ends -> what it was."""


def _check_same(ann: nn.Module, scores: Tensor, network: SpikingNetwork, example: Tensor) -> None:
    """Raise UserError where a network that was read gives other scores than the module, beyond rounding."""
    with torch.no_grad():
        far = float((network(example) - scores).abs().max())
    most = float(scores.abs().max())
    if not far <= 10 * math.sqrt(torch.finfo(scores.dtype).eps) * most:
        raise UserError(
            f"{type(ann).__name__} gives scores up to {most:.3g}, and what torch.fx has read of it others, by up to "
            f"{far:.3g}: leave out hooks, randomness and changes in place"
        )


def _is_tensor(node: fx.Node) -> bool:
    """Whether a node's value is one tensor."""
    return hasattr(node.meta.get("tensor_meta"), "shape")


# What is read of a node


def _read(reader: _Reader, node: fx.Node) -> None:
    """Note what computes a node.

    Raises:
        UserError: an operation without a spiking counterpart.
    """
    if node.op == "placeholder":
        reader.source[node] = INPUT
    elif node.op == "call_module":
        module = reader.modules[str(node.target)]
        if type(module) in ACTIVATION_MODULES:
            _units(reader, node, activation=ACTIVATION_MODULES[type(module)])
            return
        for kind, read in MODULES.items():
            if isinstance(module, kind):
                read(reader, node, module)
                return
        raise _refused(node, f"a {type(module).__name__}", LAYERS)
    elif node.op == "get_attr":
        raise _refused(node, "a parameter that is used outside a module", LAYERS)
    elif node.op != "output" and _is_tensor(node):
        name = str(node.target if node.op == "call_method" else getattr(node.target, "__name__", node.target))
        read_call = CALLS.get(name.strip("_"))
        if read_call is None:
            raise _refused(node, f"a call of {name}", LAYERS)
        read_call(reader, node)


def _before(node: fx.Node) -> fx.Node:
    """The node of the first argument."""
    first = node.args[0] if node.args else node.kwargs["input"]
    assert isinstance(first, fx.Node)
    return first


def _same(reader: _Reader, node: fx.Node, module: nn.Module | None = None) -> None:
    """Flattening and the like: the values stay, and linear layers flatten by themselves."""
    reader.source[node], reader.same[node] = reader.taken(node), _before(node)


def _dropped(reader: _Reader, node: fx.Node, module: nn.Module | None = None) -> None:
    """Dropout, of which evaluation leaves nothing."""
    given = dict(zip(("input", "p", "training"), node.args, strict=False)) | dict(node.kwargs)
    if given.get("training", True) if module is None else module.training:
        raise _refused(node, "dropout that goes on in evaluation", "give it training=self.training")
    _same(reader, node)


def _flattened(reader: _Reader, node: fx.Node, module: nn.Module | None = None) -> None:
    """Another shape: one row of values for each image, or the one that it had."""
    before, after = reader.shapes[_before(node)], reader.shapes[node]
    one_pixel = before[:2] == after[:2] and math.prod(before[2:]) == math.prod(after[2:]) == 1
    if after not in (before, (before[0], math.prod(before[1:]))) and not one_pixel:
        raise _refused(node, f"a change of shape from {before} to {after}", "flatten all values of an image")
    _same(reader, node)


def _convolution(reader: _Reader, node: fx.Node, module: nn.Conv2d) -> None:
    """A convolution."""
    reader.source[node] = reader.drawing.convolution(_name(node), reader.taken(node), module, str(node.target))


def _linear(reader: _Reader, node: fx.Node, module: nn.Linear) -> None:
    """A linear layer."""
    if len(reader.shapes[_before(node)]) != 2:
        raise _refused(node, "a linear layer on the channels of a map", "use a 1x1 convolution, or flatten before it")
    reader.source[node] = reader.drawing.linear(_name(node), reader.taken(node), module)


def _norm(reader: _Reader, node: fx.Node, module: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
    """A batch norm in evaluation: gamma / sqrt(var + eps) * (x - mean) + beta for each channel."""
    if module.running_mean is None or module.running_var is None:
        raise _refused(node, "a norm without running averages", "train with track_running_stats=True")
    scale = 1 / (module.running_var.double() + module.eps).sqrt()
    scale = scale if module.weight is None else scale * module.weight.detach().double()
    shift = -scale * module.running_mean.double()
    shift = shift if module.bias is None else shift + module.bias.detach().double()
    channels = reader.maps[reader.taken(node)][1]
    if channels != len(scale):
        raise _refused(node, f"a norm of {len(scale)} values of {channels} maps", "use BatchNorm2d before flattening")
    alone = reader.alone(_before(node))
    reader.source[node] = reader.drawing.scaled(_name(node), reader.taken(node), scale, shift, alone=alone)


def _units(reader: _Reader, node: fx.Node, limit: float = 0.0, activation: str = "relu") -> None:
    """Units, which become neurons."""
    reader.step(node, "neurons", limit=limit, activation=activation)


def _gelu(reader: _Reader, node: fx.Node, module: nn.GELU | None = None) -> None:
    """GELU, exact or by tanh."""
    approximate = node.kwargs.get("approximate", "none") if module is None else module.approximate
    _units(reader, node, activation="gelu" if approximate == "none" else "gelu-tanh")


def _hardtanh(reader: _Reader, node: fx.Node, module: nn.Hardtanh) -> None:
    """Rectifiers with a largest output; ReLU6 is one."""
    _clamped(reader, node, module.min_val, module.max_val)


def _clamped(reader: _Reader, node: fx.Node, least: Any, largest: Any) -> None:
    """Values between 0 and a largest one."""
    largest = None if largest == math.inf else largest
    if least != 0 or not (largest is None or (isinstance(largest, int | float) and largest > 0)):
        raise _refused(node, f"a clamp to {least} and {largest}", "neurons send nothing below 0: clamp to (0, y)")
    _units(reader, node, float(largest or 0))


def _hardtanh_call(reader: _Reader, node: fx.Node) -> None:
    """`F.hardtanh`."""
    given = dict(zip(("input", "min_val", "max_val"), node.args, strict=False)) | dict(node.kwargs)
    _clamped(reader, node, given.get("min_val", -1.0), given.get("max_val", 1.0))


def _clamp(reader: _Reader, node: fx.Node) -> None:
    """`torch.clamp` or `Tensor.clamp`."""
    given = dict(zip(("input", "min", "max"), node.args, strict=False)) | dict(node.kwargs)
    _clamped(reader, node, given.get("min"), given.get("max"))


def _window(
    reader: _Reader,
    node: fx.Node,
    *,
    kernel: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: Any = False,
    count_include_pad: Any = True,
    divisor_override: Any = None,
) -> None:
    """An average pool; with the arguments of torch's."""
    if pair(padding) != (0, 0) or divisor_override:
        raise _refused(node, "an average pool with padding or a divisor", "use neither")
    stride = kernel if stride is None or stride == [] else stride
    reader.step(node, "pool", kernel=pair(kernel), stride=pair(stride), ceil=bool(ceil_mode))


def _average_module(reader: _Reader, node: fx.Node, module: nn.AvgPool2d) -> None:
    """`nn.AvgPool2d`."""
    _window(
        reader,
        node,
        kernel=module.kernel_size,
        stride=module.stride,
        padding=module.padding,
        ceil_mode=module.ceil_mode,
        divisor_override=module.divisor_override,
    )


def _average_call(reader: _Reader, node: fx.Node) -> None:
    """`F.avg_pool2d`."""
    names = ("input", "kernel", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")
    given = dict(zip(names, node.args, strict=False)) | dict(node.kwargs)
    given.pop("input", None)
    kernel = given.pop("kernel_size", given.pop("kernel", None))
    _window(reader, node, kernel=kernel, **given)


def _adaptive(reader: _Reader, node: fx.Node, module: nn.Module | None = None) -> None:
    """An average pool to a size that divides that of the map; to 1x1 it is global."""
    (_, _, *before), (_, _, *after) = reader.shapes[_before(node)], reader.shapes[node]
    if after == [1, 1]:
        reader.step(node, "global pool")
    elif all(a % b == 0 for a, b in zip(before, after, strict=True)):
        _window(reader, node, kernel=tuple(a // b for a, b in zip(before, after, strict=True)))
    else:
        raise _refused(node, f"an adaptive pool from {before} to {after}", "use a size that divides the map's")


def _mean(reader: _Reader, node: fx.Node) -> None:
    """A mean over height and width."""
    dims = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    over = {int(each) % 4 for each in dims} if isinstance(dims, list | tuple) else set()
    if over != {2, 3} or len(reader.shapes[_before(node)]) != 4:
        raise _refused(node, "a mean", "take it over height and width, dim=(2, 3), of a map [N, C, H, W]")
    reader.step(node, "global pool")


def _added(reader: _Reader, node: fx.Node) -> None:
    """A sum of two values of one shape."""
    parts = node.args[:2] if len(node.args) > 1 else (node.args[0], node.kwargs.get("other"))
    parts = tuple(each for each in parts if isinstance(each, fx.Node) or each != 0)  # sum(...) begins with 0
    shapes = {reader.shapes.get(each) if isinstance(each, fx.Node) else None for each in parts}
    if len(shapes) != 1 or None in shapes or node.kwargs.get("alpha", 1) != 1:
        raise _refused(node, "an addition of different shapes or of a number", "add values of one shape")
    names = tuple(reader.source[each] for each in parts if isinstance(each, fx.Node))
    if len({reader.maps[name] for name in names}) > 1:
        raise _refused(node, "an addition of a flattened map and of other values", "add them as maps of one shape")
    reader.source[node] = reader.drawing.add(Step(name=_name(node), kind="sum", inputs=names))


def _max_pool(reader: _Reader, node: fx.Node, module: nn.Module | None = None) -> None:
    """Refused, with what to do."""
    raise _refused(node, "a max pool", "replace it by an average pool (nn.AvgPool2d) and train again")


def _units_of(activation: str) -> Callable[..., None]:
    """What reads units of an activation, modules and calls."""
    return lambda reader, node, module=None: _units(reader, node, activation=activation)


LAYERS = "use Conv2d, Linear, BatchNorm2d, ReLU, average pools, dropout, flatten and +"
MODULES: dict[Any, Callable[..., None]] = {
    nn.Conv2d: _convolution,
    nn.Linear: _linear,
    nn.BatchNorm2d: _norm,
    nn.BatchNorm1d: _norm,
    nn.ReLU: _units_of("relu"),
    nn.SiLU: _units_of("silu"),
    nn.Sigmoid: _units_of("sigmoid"),
    nn.Tanh: _units_of("tanh"),
    nn.GELU: _gelu,
    nn.Hardtanh: _hardtanh,
    nn.AvgPool2d: _average_module,
    nn.AdaptiveAvgPool2d: _adaptive,
    nn.MaxPool2d: _max_pool,
    nn.AdaptiveMaxPool2d: _max_pool,
    nn.Flatten: _flattened,
    nn.Dropout: _dropped,
    nn.Dropout2d: _dropped,
    nn.Identity: _same,
}
"""Class of a module -> what reads it."""
CALLS: dict[str, Callable[..., None]] = {
    "relu": _units_of("relu"),
    "silu": _units_of("silu"),
    "sigmoid": _units_of("sigmoid"),
    "tanh": _units_of("tanh"),
    "gelu": _gelu,
    "clamp": _clamp,
    "hardtanh": _hardtanh_call,
    "avg_pool2d": _average_call,
    "adaptive_avg_pool2d": _adaptive,
    "max_pool2d": _max_pool,
    "boolean_dispatch": _max_pool,
    "adaptive_max_pool2d": _max_pool,
    "flatten": _flattened,
    "view": _flattened,
    "reshape": _flattened,
    "contiguous": _same,
    "squeeze": _flattened,
    "dropout": _dropped,
    "dropout2d": _dropped,
    "mean": _mean,
    "add": _added,
    "iadd": _added,
}
"""Name of a function or method, without underscores around it -> what reads it."""
