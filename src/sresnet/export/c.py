"""C: a network as one C99 file without dependencies, for micro-controllers and anything else with a C compiler.

    void sresnet_start(sresnet_state *state);                                   before the first time step
    void sresnet_step(sresnet_state *state, const float *input, float *scores); one time step
    SRESNET_MOST_STEPS                                                          of them, then scores are NaN; 0: any

`input` is what the first layer receives, [C, H, W]; `scores` are those of the classes after this step. All memory is in
`sresnet_state`, whose size the compiler knows; nothing is allocated.

Maps are kept pixel by pixel, [H, W, C], so that an input that is not 0 adds one row of weights to each pixel that it
reaches: the work of a convolution is proportional to the spikes that arrive. A spike adds weights and multiplies none.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Literal

import torch
from torch import Tensor

from sresnet.errors import UserError
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
    Picked,
    Pooling,
    Product,
    Program,
    Spiking,
    Sum,
    Units,
    integers,
    output_sizes,
    pair,
)
from sresnet.models.topology import INPUT

Shape = tuple[int, int, int]
"""(C, H, W)."""


@dataclass(frozen=True, kw_only=True)
class CFile:
    """A network in C."""

    text: str
    weights: int
    """Bytes of constant numbers, which may stay in flash memory."""
    state: int
    """Bytes of `sresnet_state`: potentials, and the maps of one time step."""


def to_c(
    model: SpikingNetwork,
    example: Tensor,
    *,
    num_steps: int | None = None,
    write_out: WriteOut = "no",
    weight_bits: WeightBits = 32,
) -> CFile:
    """A network in evaluation mode as C99, in float32.

    Args:
        model: stays as it is.
        example: images [N, C, H, W] or event frames [N, T, C, H, W] of the size that the file is then for; its numbers
            do not matter.
        num_steps: time steps that it will run at most; None: the network's, or those of `example`.
        write_out: "binary" for the form in which all messages are spikes, see `source.program_for`.
        weight_bits: 8 or 4 for whole numbers with a scale for each output channel; those of four bits are two in a
            byte.

    Raises:
        UserError: as `program_for` and `output_sizes`, or units of an ANN with another activation than
            ReLU, sigmoid, tanh, SiLU or the step.
    """
    program, _ = program_for(
        model, example, num_steps=num_steps, dtype=torch.float32, write_out=write_out, weight_bits=weight_bits
    )
    return _Writer(program, output_sizes(program, pair(example.shape[-2:])), weight_bits).file(example)


@dataclass
class _Writer:
    """Parts of the file as they are written."""

    program: Program
    sizes: dict[str, Shape]
    bits: WeightBits
    constants: list[str] = field(default_factory=list)
    """Arrays of numbers."""
    calls: list[str] = field(default_factory=list)
    """Lines of `sresnet_step`."""

    def file(self, example: Tensor) -> CFile:
        """The whole file."""
        channels, height, width = example.shape[-3:]
        sizes = self.sizes | {INPUT: (channels, height, width)}
        places = _Places(self.program, sizes)
        for number, each in enumerate(self.program.operations):
            inputs = [places.of(name) for name in each.inputs]
            places.place(each)
            self.calls.append(f"/* {each.name} */")
            self.calls += self.call(each, f"w{number}", inputs, places.of(each.name), [sizes[n] for n in each.inputs])
            places.free(each)
        last = self.program.operations[-1]
        classes, votes = self.program.config.num_classes, self.program.votes
        declared = [f"    float {name}[{length}];" for name, length in _fields(self.program, sizes, places)]
        head = [
            f"#define SRESNET_CHANNELS {sizes[INPUT][0]}",
            f"#define SRESNET_HEIGHT {sizes[INPUT][1]}",
            f"#define SRESNET_WIDTH {sizes[INPUT][2]}",
            f"#define SRESNET_CLASSES {classes}",
            f"#define SRESNET_MOST_STEPS {self.program.most_steps or 0} /* 0: any number */",
            "",
            "typedef struct {",
            *declared,
            "    int step;",
            "} sresnet_state;",
        ]
        keeps = f"s->potential[k] + {places.of(last.name)}[k] + nothing"
        if self.program.leak != 1:
            keeps = f"{_float(self.program.leak)} * ({keeps})"
        score = f"total / ({votes}.0f * (float)(s->step + 1))" if votes > 1 else "total / (float)(s->step + 1)"
        body = [
            "void sresnet_start(sresnet_state *s) {",
            "    memset(s, 0, sizeof *s);",
            "}",
            "",
            "void sresnet_step(sresnet_state *s, const float *input, float *scores) {",
            *self.last_step(classes),
            "    float nothing;",
            f"    zero_or_nan(input, {math.prod(sizes[INPUT])}, &nothing);",
            f"    pixel_by_pixel(input, s->input, {_numbers(sizes[INPUT])});",
            *(f"    {line}" for line in self.calls),
            f"    for (int k = 0; k < {classes * votes}; k++) s->potential[k] = {keeps};",
            f"    for (int k = 0; k < {classes}; k++) {{",
            "        float total = 0.0f;",
            f"        for (int i = 0; i < {votes}; i++) total += s->potential[k * {votes} + i];",
            f"        scores[k] = {score};",
            "    }",
            "    s->step++;",
            "}",
        ]
        operations = files("sresnet.export").joinpath("operations.c").read_text(encoding="utf-8")
        used = _used(operations, "\n".join(body))
        text = "\n".join([used, "", *head, "", *self.constants, "", *body, ""])
        weights, state = memory_of(self.program, sizes, self.bits)
        return CFile(text=text, weights=weights, state=state)

    def last_step(self, classes: int) -> list[str]:
        """The lines that answer NaN after the steps that the norms have numbers for."""
        if self.program.most_steps is None:
            return []
        return [
            "    if (s->step >= SRESNET_MOST_STEPS) { /* there are no numbers for it */",
            f"        for (int k = 0; k < {classes}; k++) scores[k] = NAN;",
            "        return;",
            "    }",
        ]

    def integers(self, name: str, whole: Tensor) -> str:
        """Whole numbers of eight bits, or of four, two in a byte, as a constant array; returns its name."""
        return self.array(name, packed(whole).to(torch.int8) if self.bits == 4 else whole, "signed char")

    def array(self, name: str, values: Tensor, kind: Literal["float", "signed char"] = "float") -> str:
        """Numbers as a constant array; returns its name."""
        numbers = values.detach().cpu().flatten().tolist()
        texts = [_float(each) if kind == "float" else str(each) for each in numbers]
        self.constants.append(f"static const {kind} {name}[{len(numbers)}] = {{")
        per_line = 8 if kind == "float" else 24
        for start in range(0, len(numbers), per_line):
            self.constants.append(f"    {', '.join(texts[start : start + per_line])},")
        self.constants.append("};")
        return name

    def optional(self, name: str, values: Tensor | None) -> str:
        """The same of numbers that may not be there."""
        return "0" if values is None else self.array(name, values)

    def call(self, each: AnyOperation, name: str, inputs: Sequence[str], y: str, shapes: Sequence[Shape]) -> list[str]:
        """The lines that compute one operation.

        Args:
            each: the operation.
            name: what its numbers are called.
            inputs: where its inputs are.
            y: where its output goes.
            shapes: (C, H, W) of the inputs.
        """
        x, given, made = inputs[0], _numbers(shapes[0]), self.sizes[each.name]
        length = math.prod(made)
        match each:
            case Convolution():
                whole, bias = integers(each), self.optional(f"{name}_bias", each.bias)
                # [O, I / groups, h, w] -> for each input channel [h, w, O / groups], one step after the other
                weight = each.weight if whole is None else whole
                weight = weight.unflatten(-4, (each.groups, -1)).movedim(-4, -1)
                by_step = each.weight.ndim == 5
                shape = (*each.weight.shape[-2:], *each.stride, *each.padding, *each.dilation, each.groups)
                rest = f"{y}, {_numbers(made)}, {_numbers(shape)});"
                start = f"s->step * {weight[0].numel()}" if by_step else "0"
                if each.scale is None:
                    numbers = self.array(name, weight) + (f" + {start}" if by_step else "")
                    return [f"convolve({x}, {given}, {numbers}, {bias}, {rest}"]
                scale = self.array(f"{name}_scale", each.scale) + (f" + s->step * {made[0]}" if by_step else "")
                return [
                    f"convolve_integers({x}, {given}, {self.integers(name, weight)}, {start}, {self.bits}, {rest}",
                    f"scale({y}, {length}, {made[0]}, {scale}, {bias}, {made[0]}, {y});",
                ]
            case Linear():
                channels, height, width = shapes[0]
                whole, bias, inputs_ = integers(each), self.optional(f"{name}_bias", each.bias), math.prod(shapes[0])
                weight = each.weight if whole is None else whole
                weight = weight.unflatten(1, (channels, height * width)).permute(2, 1, 0)  # inputs pixel by pixel
                if each.scale is None:
                    return [f"multiply({x}, {inputs_}, {self.array(name, weight)}, {bias}, {y}, {length});"]
                scale = self.array(f"{name}_scale", each.scale)
                return [
                    f"multiply_integers({x}, {inputs_}, {self.integers(name, weight)}, {self.bits}, {y}, {length});",
                    f"scale({y}, {length}, {length}, {scale}, {bias}, {length}, {y});",
                ]
            case Affine():
                gain = self.array(name, each.gain) + (f" + s->step * {made[0]}" if len(each.gain) > 1 else "")
                shift, shifts = "0", made[0]
                if each.shift is not None:
                    values = each.shift if each.shift.ndim == 2 else each.shift.movedim(1, -1)  # pixel by pixel
                    shifts = values[0].numel()
                    shift = self.array(f"{name}_shift", values) + (f" + s->step * {shifts}" if len(values) > 1 else "")
                return [f"scale({x}, {length}, {made[0]}, {gain}, {shift}, {shifts}, {y});"]
            case Spiking():
                constants = ", ".join(map(_float, (each.leak, each.scale, each.threshold)))
                flags = f"{int(each.reset == 'zero')}, {int(each.fires_at_threshold)}"
                return [f"fire({x}, {length}, s->v{self.index(each)}, {constants}, {flags}, {y});"]
            case InternalSteps():
                numbers = ", ".join(
                    self.array(f"{name}_{kind}", getattr(each, kind)) for kind in ("thresholds", "resets", "heights")
                )
                steps = f"{len(each.thresholds)}, {int(each.fires_at_threshold)}"
                return [f"fire_few({x}, {length}, {numbers}, {steps}, {y});"]
            case Units():
                if each.activation not in _ACTIVATIONS:
                    raise UserError(
                        f"{each.name} computes {each.activation}, which is not written in C: convert the network to "
                        "few-spikes neurons first, or export it as ONNX"
                    )
                limit = _float(each.limit) if each.limit else "HUGE_VALF"
                return [f"{_ACTIVATIONS[each.activation]}({x}, {length}, {limit}, {y});"]
            case Sum():
                factors = [_float(factor) for factor in each.factors]
                first = f"start_sum({x}, {factors[0]}, {length}, {y});"
                more = zip(inputs[1:], factors[1:], strict=True)
                return [first, *(f"add({part}, {factor}, {length}, {y});" for part, factor in more)]
            case Product():
                return [f"join({x}, {inputs[1]}, {length}, {int(each.inverted)}, {y});"]
            case Pooling():
                shape = (*each.kernel, *each.stride, *each.padding)
                return [f"pool_{each.kind}({x}, {given}, {y}, {_numbers(made)}, {_numbers(shape)});"]
            case GlobalAverage():
                return [f"average({x}, {given}, {y});"]
            case Picked():
                return [f"pick({x}, {given}, {each.every}, {y}, {_numbers(made)});"]
            case Flattened():
                return [f"channel_by_channel({x}, {y}, {given});"]
        raise AssertionError(each)

    def index(self, each: Spiking) -> int:
        """Number of a layer of neurons."""
        return [neurons.name for neurons in self.program.neurons].index(each.name)


_ACTIVATIONS = {"relu": "rectify", "sigmoid": "sigmoid", "tanh": "tangent", "silu": "silu", "step": "step_half"}
"""Activation -> function of operations.c."""


class _Places:
    """Where the map of each operation is: in a buffer that is free again when nobody takes the map any more."""

    def __init__(self, program: Program, sizes: dict[str, Shape]) -> None:
        self.sizes = sizes
        self.left = dict.fromkeys(sizes, 0)
        for each in program.operations:
            for name in each.inputs:
                self.left[name] += 1
        self.neurons = {each.name: number for number, each in enumerate(program.neurons)}
        self.lengths: list[int] = []
        """Of the buffers."""
        self.unused: list[int] = []
        """Those that hold nothing."""
        self.held: dict[str, int] = {}
        """Operation -> its buffer."""

    def of(self, name: str) -> str:
        """Where a map is, in C."""
        return "s->input" if name == INPUT else f"s->map{self.held[name]}"

    def place(self, each: AnyOperation) -> None:
        """Give an operation a buffer: the smallest that is free and large enough, or else the largest, made larger."""
        length = math.prod(self.sizes[each.name])
        fitting = [number for number in self.unused if self.lengths[number] >= length]
        if fitting:
            chosen = min(fitting, key=lambda number: self.lengths[number])
        elif self.unused:
            chosen = max(self.unused, key=lambda number: self.lengths[number])
            self.lengths[chosen] = length
        else:
            chosen = len(self.lengths)
            self.lengths.append(length)
        self.unused = [number for number in self.unused if number != chosen]
        self.held[each.name] = chosen

    def free(self, each: AnyOperation) -> None:
        """Free the buffers of maps that this operation took last."""
        for name in each.inputs:
            self.left[name] -= 1
            if self.left[name] == 0 and name != INPUT:
                self.unused.append(self.held[name])

    def buffers(self) -> Iterator[tuple[str, int]]:
        """(name, length) of each."""
        return ((f"map{number}", length) for number, length in enumerate(self.lengths))


def _fields(program: Program, sizes: dict[str, Shape], places: _Places) -> list[tuple[str, int]]:
    """(name, length) of the arrays in `sresnet_state`, once all maps have been placed."""
    potentials = [(f"v{places.neurons[each.name]}", math.prod(sizes[each.name])) for each in program.neurons]
    scores = program.config.num_classes * program.votes
    return [("potential", scores), *potentials, ("input", math.prod(sizes[INPUT])), *places.buffers()]


def memory_of(program: Program, sizes: dict[str, Shape], bits: WeightBits) -> tuple[int, int]:
    """Bytes of constant numbers, and of `sresnet_state`.

    Args:
        program: what is to be written.
        sizes: (C, H, W) of what each operation gives, and of the input.
        bits: of the weights of convolutions and linear layers.
    """
    weights = 0
    for each in program.operations:
        for name, value in vars(each).items():
            if isinstance(value, Tensor):
                weighted = name == "weight" and isinstance(each, Convolution | Linear)
                weights += -(-value.numel() * (bits if weighted else 32) // 8)
    places = _Places(program, sizes)
    for each in program.operations:
        places.place(each)
        places.free(each)
    return weights, 4 * sum(length for _, length in _fields(program, sizes, places)) + 4


def _used(operations: str, text: str) -> str:
    """What is in front of the functions of operations.c, and those of them that are called."""
    head, *functions = operations.split("\n\n/* ")
    called: list[str] = []
    for each in reversed(functions):  # one may call those before it
        if f" {_name_of(each)}(" in text or f"){_name_of(each)}(" in text:
            called.insert(0, each)
            text += each
    return "\n\n/* ".join([head, *called])


def _name_of(function: str) -> str:
    """Of a function of operations.c."""
    return function.partition("*/\nstatic ")[2].partition("(")[0].split()[-1]


def _numbers(values: Sequence[int]) -> str:
    """Arguments."""
    return ", ".join(map(str, values))


def _float(value: float) -> str:
    """A number of float32, which C reads to the same bits."""
    text = f"{value:.9g}"
    return f"{text}f" if any(mark in text for mark in ".en") else f"{text}.0f"
