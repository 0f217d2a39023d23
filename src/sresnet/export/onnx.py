"""ONNX: a network that onnxruntime and others run, without this package.

Two kinds of files, of the same operations:

    sequence    images [N, C, H, W], or encoded frames [N, T, C, H, W], in; "scores" [N, T, classes] after every step
                out. Time is a Scan, whose body is one step, so that the file does not grow with T.
    streaming   one time step: "input" [N, C, H, W], "step" (0 for the first), "potential" of the readout and a
                potential "v.NAME" for every layer of neurons in; "scores" [N, classes] and the potentials after the
                step out, each with ".next" behind its name. All potentials are 0 at the start.

N may differ from call to call. Norms that are the same at every step are part of the weights; gains and shifts that
change with the step are tables, of which a step takes its row.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from sresnet.errors import UserError
from sresnet.export.about import DRAWN, About, about_of
from sresnet.export.source import WeightBits, WriteOut, packed, program_for
from sresnet.models.network import SpikingNetwork
from sresnet.models.program import (
    Affine,
    AnyOperation,
    Convolution,
    Flattened,
    GlobalAverage,
    InternalSteps,
    Linear,
    Pair,
    Picked,
    Pooling,
    Product,
    Program,
    Spiking,
    Sum,
    Units,
    integers,
    output_sizes,
    overhang,
    pair,
)
from sresnet.models.topology import INPUT

OPSET = 20
"""Of the operations; the first with Gelu."""
IR_VERSION = 9
"""Of the file format: the one that came with it, so that older runtimes read it."""
_OPSET_4, _IR_VERSION_4 = 21, 10
"""The first with weights of four bits."""
_NEXT = ".next"


def to_onnx(
    model: SpikingNetwork,
    example: Tensor,
    *,
    streaming: bool = False,
    num_steps: int | None = None,
    dtype: torch.dtype = torch.float32,
    write_out: WriteOut = "no",
    weight_bits: WeightBits = 32,
) -> onnx.ModelProto:
    """A network in evaluation mode as ONNX, see above.

    Args:
        model: stays as it is.
        example: images [N, C, H, W] or event frames [N, T, C, H, W] of the size that the file is then for; its
            numbers do not matter, nor does N. With frames a sequence takes frames, and with images too where the
            encoder draws: then those that it has drawn.
        streaming: one time step instead of a sequence.
        num_steps: time steps of a sequence; None: the network's, or those of `example`.
        write_out: "binary" for the form in which all messages are spikes, see `source.program_for`.
        weight_bits: 8 or 4 for whole numbers with a scale for each output channel.
        dtype: float32 or float64 (which onnxruntime convolves on no processor).

    Raises:
        UserError: as `program_for` and `output_sizes`, or activations of the user's own.
    """
    program, steps = program_for(
        model, example, num_steps=num_steps, dtype=dtype, write_out=write_out, weight_bits=weight_bits
    )
    frames = example.ndim == 5
    graph = _Graph(
        program, pair(example.shape[-2:]), "float32" if dtype == torch.float32 else "float64", weight_bits == 4
    )
    built = graph.one_step(frames) if streaming else graph.sequence(steps, frames or model.config.encoder in DRAWN)
    opset, version = (_OPSET_4, _IR_VERSION_4) if weight_bits == 4 else (OPSET, IR_VERSION)
    made = helper.make_model(built, opset_imports=[helper.make_opsetid("", opset)], producer_name="sresnet")
    made.ir_version = version
    onnx.checker.check_model(made, full_check=True)
    return made


def described(made: onnx.ModelProto, about: About) -> onnx.ModelProto:
    """A copy of a file that says of itself what it is."""
    copy = onnx.ModelProto()
    copy.CopyFrom(made)
    helper.set_model_props(copy, about.texts())
    return copy


def about_of_onnx(content: bytes, where: str) -> About:
    """What a file says of itself.

    Raises:
        UserError: it is no ONNX file, or was not exported by sresnet.
    """
    made = onnx.ModelProto()
    try:
        made.ParseFromString(content)
    except Exception as error:  # of a class of protobuf's
        raise UserError(f"{where} is no ONNX file ({error}): export it again") from None
    return about_of({each.key: each.value for each in made.metadata_props}, where)


@dataclass
class _Graph:
    """Nodes and numbers as they are written; names of values are those of operations."""

    program: Program
    size: Pair
    float_: Literal["float32", "float64"]
    nibbles: bool = False
    """Rounded weights take four bits, two in a byte."""
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    """Of the graph that is being written, the file's or a Scan's."""
    numbers: dict[str, onnx.TensorProto] = field(default_factory=dict)
    """Of the whole file."""

    @functools.cached_property
    def sizes(self) -> dict[str, tuple[int, int, int]]:
        """(C, H, W) of what each operation gives."""
        return output_sizes(self.program, self.size)

    @property
    def type(self) -> int:
        """Of all numbers but steps."""
        return TensorProto.FLOAT if self.float_ == "float32" else TensorProto.DOUBLE

    @property
    def outputs(self) -> int:
        """What the readout gives: classes times votes."""
        return self.sizes[self.program.operations[-1].name][0]

    # Files ------------------------------------------------------------------------------------------------------------

    def one_step(self, frames: bool) -> onnx.GraphProto:
        """The file of one time step; of event frames, which come as the encoder leaves them."""
        image: list[int | str] = ["N", self.program.config.in_channels, *self.size]
        inputs = [self.value(INPUT, image), helper.make_tensor_value_info("step", TensorProto.INT64, [])]
        inputs += [self.value(name, shape) for name, shape in self.states()]
        self.scores(INPUT if frames else self.encoded(INPUT), "scores", self.zero_or_nan(INPUT))
        outputs = [self.value("scores", ["N", self.program.config.num_classes])]
        outputs += [self.value(name + _NEXT, shape) for name, shape in self.states()]
        return helper.make_graph(self.nodes, "sresnet", inputs, outputs, list(self.numbers.values()))

    def sequence(self, num_steps: int, frames: bool) -> onnx.GraphProto:
        """The file of all time steps."""
        channels, classes = self.program.config.in_channels, self.program.config.num_classes
        image: list[int | str] = ["N", channels, *self.size]
        shape = ["N", num_steps, *image[1:]] if frames else image
        taken = "frames" if frames else "images"
        batch = self.node("Slice", self.node("Shape", taken), self.whole([0]), self.whole([1]))
        states = self.states()
        zeros = {
            name: self.node(
                "ConstantOfShape",
                self.node("Concat", batch, self.whole([each for each in shape if isinstance(each, int)]), axis=0),
                value=helper.make_tensor("", self.type, [1], [0.0]),
            )
            for name, shape in states
        }
        constant = not frames and self.program.config.encoder == "direct"
        ahead = _of_input(self.program) if constant else ()
        for operation in ahead:  # the same at every step: once
            self.operation(operation, taken, "")
        nothing = "" if frames else self.zero_or_nan(taken)
        outer, self.nodes = self.nodes, []
        given = [self.value(name, shape) for name, shape in states]
        given.append(helper.make_tensor_value_info("step", TensorProto.INT64, []))
        scanned = [self.whole(list(range(num_steps)), name="steps")]
        if frames:
            given.append(self.value(INPUT, image))
            self.scores(INPUT, "scores.now", self.zero_or_nan(INPUT))
        else:
            self.scores(taken if constant else self.encoded(taken), "scores.now", nothing, ahead)
        left = [self.value(name + _NEXT, shape) for name, shape in states]
        left.append(self.value("scores.now", ["N", classes]))
        body = helper.make_graph(self.nodes, "step", given, left)
        self.nodes = outer
        if frames:
            scanned.append(self.node("Transpose", taken, perm=[1, 0, 2, 3, 4]))
        ends = [f"{name}.last" for name, _ in states]
        scan = helper.make_node(
            "Scan", [*zeros.values(), *scanned], [*ends, "by_step"], num_scan_inputs=len(scanned), body=body
        )
        self.nodes.append(scan)
        self.node("Transpose", "by_step", perm=[1, 0, 2], output="scores")
        return helper.make_graph(
            self.nodes,
            "sresnet",
            [self.value(taken, shape)],
            [self.value("scores", ["N", num_steps, classes])],
            list(self.numbers.values()),
        )

    def states(self) -> list[tuple[str, list[int | str]]]:
        """(name, shape) of what goes from one step to the next."""
        found: list[tuple[str, list[int | str]]] = [("potential", ["N", self.outputs])]
        for each in self.program.neurons:
            found.append((f"v.{each.name}", ["N", *self.sizes[each.name]]))
        return found

    def scores(self, frame: str, output: str, nothing: str, ahead: Sequence[AnyOperation] = ()) -> None:
        """One step, whose index is called "step": the potentials after it, and the scores.

        Args:
            frame: name of what the first layer receives.
            output: name of the scores.
            nothing: name of 0, or of NaN for images that are not finite, [N, 1].
            ahead: operations that are done already.
        """
        for each in self.program.operations:
            if each not in ahead:
                self.operation(each, frame, "step")
        last = self.node("Flatten", self.program.operations[-1].name, axis=1)
        total = self.node("Add", "potential", self.node("Add", last, nothing))
        if self.program.leak != 1:
            total = self.node("Mul", total, self.number(self.program.leak))
        self.node("Identity", total, output="potential" + _NEXT)
        count = self.node("Add", self.node("Cast", "step", to=self.type), self.number(1.0))
        score = self.node("Div", total, count)
        if self.program.votes == 1:
            self.node("Identity", score, output=output)
            return
        grouped = self.node("Reshape", score, self.whole([-1, self.program.config.num_classes, self.program.votes]))
        self.node("ReduceMean", grouped, self.whole([2]), keepdims=0, output=output)

    def zero_or_nan(self, image: str) -> str:
        """[N, 1]: 0, or NaN where an image or frame is not finite, which silent neurons would hide."""
        zeros = self.node("Flatten", self.node("Mul", image, self.number(0.0)), axis=1)
        return self.node("ReduceSum", zeros, self.whole([1]), keepdims=1)

    # Encoders ---------------------------------------------------------------------------------------------------------

    def encoded(self, image: str) -> str:
        """What the first layer receives of an image at this step; the equations are in `nn.encoder`."""
        kind, config = self.program.config.encoder, self.program.config
        if kind == "direct" or kind in DRAWN:  # one step of a stream is given as it is drawn
            return image
        first = self.cast(self.node("Equal", "step", self.whole_number(0)))
        if kind == "first-step":
            return self.node("Mul", image, first)
        if kind == "delta":
            large = self.node("GreaterOrEqual", self.node("Abs", image), self.number(config.delta_threshold))
            return self.node("Mul", self.node("Mul", self.node("Sign", image), self.cast(large)), first)
        if kind == "latency":
            dark = self.node("Sub", self.number(1.0), self.node("Clip", image, self.number(0.0), self.number(1.0)))
            when = self.node("Round", self.node("Mul", dark, self.number(config.num_steps - 1.0)))
            now = self.node("Equal", when, self.node("Cast", "step", to=self.type))
            return self.cast(self.node("And", now, self.node("Greater", image, self.number(0.0))))
        size = self.node("Min", self.node("Abs", image), self.number(1.0))
        after = self.node("Floor", self.node("Mul", size, self.number(config.num_steps - 1.0)))
        on = self.node("Greater", after, self.node("Cast", "step", to=self.type))
        return self.node("Mul", self.node("Sign", image), self.cast(on))

    # Operations -------------------------------------------------------------------------------------------------------

    def operation(self, each: AnyOperation, frame: str, step: str) -> None:
        """The nodes of one operation; their last output has its name.

        Args:
            frame: name of what the first layer receives.
            step: name of the index of the time step.
        """
        given = [frame if name == INPUT else name for name in each.inputs]
        x = given[0]
        match each:
            case Convolution():
                numbers = [self.weight(each, step)]
                numbers += [] if each.bias is None else [self.tensor(f"{each.name}.bias", each.bias)]
                self.node(
                    "Conv",
                    x,
                    *numbers,
                    strides=each.stride,
                    pads=each.padding * 2,
                    dilations=each.dilation,
                    group=each.groups,
                    output=each.name,
                )
            case Linear():
                y = self.node("Gemm", self.node("Flatten", x, axis=1), self.weight(each, step), transB=1)
                y = y if each.bias is None else self.node("Add", y, self.tensor(f"{each.name}.bias", each.bias))
                self.node("Unsqueeze", y, self.whole([2, 3]), output=each.name)
            case Affine():
                gain = self.row(f"{each.name}.gain", each.gain, step)
                if each.shift is None:
                    self.node("Mul", x, gain, output=each.name)
                else:
                    shift = self.row(f"{each.name}.shift", each.shift, step)
                    self.node("Add", self.node("Mul", x, gain), shift, output=each.name)
            case Spiking():
                self.fired(each, x)
            case InternalSteps():
                self.internal_steps(each, x)
            case Units():
                self.units(each, x)
            case Sum():
                parts = [
                    name if factor == 1 else self.node("Mul", name, self.number(factor))
                    for name, factor in zip(given, each.factors, strict=True)
                ]
                self.node("Sum", *parts, output=each.name)
            case Product():
                first = self.node("Sub", self.number(1.0), x) if each.inverted else x
                self.node("Mul", first, given[1], output=each.name)
            case Pooling():
                self.pooled(each, x)
            case GlobalAverage():
                self.node("GlobalAveragePool", x, output=each.name)
            case Picked():
                ends = [2**31 - 1] * 2
                self.node(
                    "Slice",
                    x,
                    self.whole([0, 0]),
                    self.whole(ends),
                    self.whole([2, 3]),
                    self.whole([each.every] * 2),
                    output=each.name,
                )
            case Flattened():
                self.node("Unsqueeze", self.node("Flatten", x, axis=1), self.whole([2, 3]), output=each.name)

    def weight(self, each: Convolution | Linear, step: str) -> str:
        """Weights of this step, or what is made of rounded ones."""
        whole, name = integers(each), f"{each.name}.weight"
        by_step = isinstance(each, Convolution) and each.weight.ndim == 5
        if whole is None or each.scale is None:
            table = self.tensor(name, each.weight)
        else:
            channels = whole.flatten(0, 1) if by_step else whole
            scale = self.tensor(f"{each.name}.scale", each.scale.flatten())
            table = self.node("DequantizeLinear", self.integers(name, channels), scale, axis=0)
            table = self.node("Reshape", table, self.whole(each.weight.shape)) if by_step else table
        return self.node("Gather", table, step, axis=0) if by_step else table

    def integers(self, name: str, whole: Tensor) -> str:
        """Whole numbers of four or eight bits by name."""
        if name not in self.numbers and self.nibbles:
            numbers = packed(whole).numpy().tobytes()
            kind = onnx.TensorProto.INT4
            self.numbers[name] = onnx.TensorProto(name=name, dims=whole.shape, data_type=kind, raw_data=numbers)
        elif name not in self.numbers:
            self.numbers[name] = numpy_helper.from_array(whole.numpy(), name)
        return name

    def row(self, name: str, values: Tensor, step: str) -> str:
        """Numbers of each channel at this step, [C, 1, 1], or of each pixel too, [C, H, W]."""
        values = values[..., None, None] if values.ndim == 2 else values
        table = self.tensor(name, values if len(values) > 1 else values[0])
        return self.node("Gather", table, step, axis=0) if len(values) > 1 else table

    def fired(self, each: Spiking, x: str) -> None:
        """Neurons, and the potential that they leave."""
        x = x if each.scale == 1 else self.node("Mul", x, self.number(each.scale))
        v = f"v.{each.name}"
        kept = v if each.leak == 1 else self.node("Mul", v, self.number(each.leak))
        u, threshold = self.node("Add", kept, x), self.number(each.threshold)
        fires = self.node("GreaterOrEqual" if each.fires_at_threshold else "Greater", u, threshold)
        self.node("Cast", fires, to=self.type, output=each.name)
        if each.reset == "zero":
            self.node("Where", fires, self.number(0.0), u, output=v + _NEXT)
        else:
            lost = each.name if each.threshold == 1 else self.node("Mul", each.name, threshold)
            self.node("Sub", u, lost, output=v + _NEXT)

    def internal_steps(self, each: InternalSteps, v: str) -> None:
        """Few-spikes neurons: K steps, one after the other."""
        sent = []
        for threshold, reset, height in zip(
            each.thresholds.tolist(), each.resets.tolist(), each.heights.tolist(), strict=True
        ):
            fires = "GreaterOrEqual" if each.fires_at_threshold else "Greater"
            z = self.cast(self.node(fires, v, self.number(threshold)))
            sent.append(self.node("Mul", z, self.number(height)))
            v = self.node("Sub", v, self.node("Mul", z, self.number(reset)))
        self.node("Sum", *sent, output=each.name)

    def units(self, each: Units, x: str) -> None:
        """Units of an ANN."""
        name = each.name
        if each.limit:
            self.node("Clip", x, self.number(0.0), self.number(each.limit), output=name)
        elif each.activation in _ACTIVATIONS:
            operator, attributes = _ACTIVATIONS[each.activation]
            self.node(operator, x, output=name, **attributes)
        elif each.activation == "silu":
            self.node("Mul", x, self.node("Sigmoid", x), output=name)
        elif each.activation == "step":
            self.node("Cast", self.node("GreaterOrEqual", x, self.number(0.5)), to=self.type, output=name)
        else:
            raise UserError(
                f"{name} computes {each.activation}, an activation of your own, which ONNX does not know: convert the "
                "network to few-spikes neurons first"
            )

    def pooled(self, each: Pooling, x: str) -> None:
        """Windows; those that reach over the edge are filled up here, as runtimes differ in how they count them."""
        height, width = self.sizes[each.inputs[0]][1:] if each.inputs[0] != INPUT else self.size
        windows = self.sizes[each.name][1:]
        over = [overhang(each, 0, height, windows[0]), overhang(each, 1, width, windows[1])]
        numbers: dict[str, Any] = {"kernel_shape": each.kernel, "strides": each.stride}
        if each.kind == "max":
            pads = [*each.padding, each.padding[0] + over[0], each.padding[1] + over[1]]
            self.node("MaxPool", x, pads=pads, output=each.name, **numbers)
            return
        numbers |= {"pads": each.padding * 2, "count_include_pad": 1}
        if not any(over):
            self.node("AveragePool", x, output=each.name, **numbers)
            return
        filled = self.node("Pad", x, self.whole([0] * 6 + over))
        inside = torch.nn.functional.avg_pool2d(
            torch.nn.functional.pad(torch.ones(1, 1, height, width), (0, over[1], 0, over[0])),
            each.kernel,
            each.stride,
            each.padding,
        )
        self.node(
            "Div",
            self.node("AveragePool", filled, **numbers),
            self.tensor(f"{each.name}.share", inside[0]),
            output=each.name,
        )

    # Nodes and numbers ------------------------------------------------------------------------------------------------

    def node(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """One more node; returns the name of its output."""
        output = output or f"{operator.lower()}.{len(self.nodes)}.{len(self.numbers)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def cast(self, flags: str) -> str:
        """True and false as 1 and 0."""
        return self.node("Cast", flags, to=self.type)

    def value(self, name: str, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
        """Type and shape of a value."""
        return helper.make_tensor_value_info(name, self.type, list(shape))

    def tensor(self, name: str, values: Tensor) -> str:
        """Numbers by name."""
        array = values.detach().cpu().numpy().astype(self.float_)
        self.numbers.setdefault(name, numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def number(self, value: float) -> str:
        """One number."""
        return self.tensor(f"number {value!r}", torch.tensor(value, dtype=torch.float64))

    def whole(self, values: Sequence[int], name: str = "") -> str:
        """Whole numbers."""
        name = name or f"whole {list(values)}"
        self.numbers.setdefault(name, numpy_helper.from_array(np.array(values, dtype=np.int64), name))
        return name

    def whole_number(self, value: int) -> str:
        """A whole number without dimensions."""
        name = f"whole {value}"
        self.numbers.setdefault(name, numpy_helper.from_array(np.array(value, dtype=np.int64), name))
        return name


_ACTIVATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "relu": ("Relu", {}),
    "sigmoid": ("Sigmoid", {}),
    "tanh": ("Tanh", {}),
    "gelu": ("Gelu", {}),
    "gelu-tanh": ("Gelu", {"approximate": "tanh"}),
}
"""Activation -> operator and its attributes."""


def _of_input(program: Program) -> tuple[AnyOperation, ...]:
    """The operations that are the same at every step where the input is."""
    known, found = {INPUT}, []
    for each in program.operations:
        changes = isinstance(each, Spiking) or (isinstance(each, Affine) and len(each.gain) > 1)
        changes = changes or (isinstance(each, Convolution) and each.weight.ndim == 5)
        if not changes and known.issuperset(each.inputs):
            known.add(each.name)
            found.append(each)
    return tuple(found)
