"""NIR: a network as a graph of the Neuromorphic Intermediate Representation (Pedersen et al. 2024).

NIR describes neurons by differential equations. Read with Euler steps of dt = 1, which is how simulators read them,
this graph computes what the network computes:

    leak, no reset       LI, tau = r = 1 / (1 - leak);  without leak I, r = 1
    reset to zero        LIF and IF with the same tau and r
    reset by subtraction no primitive: an integrator (LI or I), a Threshold, and its spikes fed back to the integrator,
                         times -leak * threshold by a Scale, one step later, as every cycle is in discrete time

        u[t] = leak * u[t-1] + x[t] - leak * threshold * o[t-1] = leak * v[t-1] + x[t]

    shift of each pixel  LI with tau = r = 1 and the shift as v_leak, whose potential is its input and the shift

Neurons that fire at their threshold have the next smaller number as threshold, above which they fire. Everything is of
shape [C, H, W]; fully connected layers are convolutions of the whole map. The output is the readout's potential, so
scores after t steps are the output divided by t. A graph takes what the encoder makes of an image, step by step.
"""

import io
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nir
import numpy as np
import torch
from torch import Tensor

from sresnet.errors import UserError
from sresnet.export.about import About, about_of
from sresnet.export.source import WriteOut, program_for
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
    output_sizes,
    overhang,
    pair,
)
from sresnet.models.topology import INPUT

Shape = tuple[int, int, int]
"""(C, H, W)."""
OUTPUT = "output"


def to_nir(
    model: SpikingNetwork,
    example: Tensor,
    *,
    num_steps: int | None = None,
    strict: bool = False,
    dtype: torch.dtype = torch.float32,
    write_out: WriteOut = "no",
) -> nir.NIRGraph:
    """A network in evaluation mode as NIR, see above.

    Args:
        model: stays as it is.
        example: images [N, C, H, W] or event frames [N, T, C, H, W] of the size that the graph is then for; its numbers
            do not matter.
        num_steps: time steps that it will run at most; None: the network's, or those of `example`.
        strict: refuse neurons that reset by subtraction, which need a cycle.
        dtype: float32 or float64.
        write_out: "binary" for the form in which all messages are spikes, see `source.program_for`.

    Raises:
        UserError: as `program_for` and `output_sizes`; or what NIR has no words for: norms that change
            with the time step, maxima, averages over the edge, spikes joined by and, units of ANNs, few-spikes neurons.
    """
    program, _ = program_for(model, example, num_steps=num_steps, dtype=dtype, write_out=write_out)
    for each in program.operations:  # before norms: making one of those of an ANN would not help
        if isinstance(each, Units | InternalSteps):
            raise UserError(
                f"{each.name} does not spike over time, and NIR is of spiking networks: convert the ANN by a method of "
                "firing rates, such as sresnet convert RUN --method deng"
            )
    height, width = pair(example.shape[-2:])
    sizes = output_sizes(program, (height, width)) | {INPUT: (example.shape[-3], height, width)}
    return _Writer(program, sizes, strict, np.float64 if dtype == torch.float64 else np.float32).graph()


def written_as(graph: nir.NIRGraph, about: About) -> bytes:
    """The bytes of a file that says of itself what it is."""
    graph.metadata = about.texts()
    buffer = io.BytesIO()
    nir.write(buffer, graph)
    return buffer.getvalue()


def read_from(path: Path) -> tuple[About, nir.NIRGraph]:
    """What a file says of itself, and its graph.

    Raises:
        UserError: it is no NIR file, or was not exported by sresnet.
    """
    try:
        graph = nir.read(path)
    except Exception as error:  # of HDF5, and of what damage makes nir trip over
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is no NIR file ({reason}): export it again") from None
    texts = {name: text.decode() if isinstance(text, bytes) else str(text) for name, text in graph.metadata.items()}
    return about_of(texts, str(path)), graph


@dataclass
class _Writer:
    """Nodes and edges as they are written; the output of a node has the name of its operation."""

    program: Program
    sizes: dict[str, Shape]
    strict: bool
    float_: Any
    """numpy's kind of all numbers."""
    nodes: dict[str, nir.NIRNode] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    flat: dict[str, str] = field(default_factory=dict)
    """Flattened map -> the map that it was."""

    def graph(self) -> nir.NIRGraph:
        """The whole graph."""
        self.nodes[INPUT] = nir.Input(input_type={"input": np.array(self.sizes[INPUT])})
        for each in self.program.operations:
            self.operation(each)
        last = self.program.operations[-1].name
        shape = self.sizes[last]
        if self.program.votes > 1:
            classes = shape[0] // self.program.votes
            votes = np.kron(np.eye(classes), np.full((1, self.program.votes), 1 / self.program.votes))
            last, shape = self.weights("votes", last, votes[:, :, None, None], None, shape), (classes, 1, 1)
        if self.program.leak != 1:
            last = self.scale("readout.kept", last, self.program.leak, shape)
        self.add("readout.potential", self.integrator(self.program.leak, shape), last)
        self.add(OUTPUT, nir.Output(output_type={"output": np.array(shape)}), "readout.potential")
        return nir.NIRGraph(nodes=self.nodes, edges=self.edges, metadata={})

    def operation(self, each: AnyOperation) -> None:
        """The nodes of one operation."""
        name, source, shape = each.name, each.inputs[0], self.sizes[each.name]
        match each:
            case Convolution() if each.weight.ndim == 5:
                raise UserError(
                    f"{name} has weights for each time step, and NIR knows no time steps: train the network with one "
                    "norm for all, such as --model.norm time-averaged"
                )
            case Convolution():
                self.convolution(each, source)
            case Linear():
                given = self.square(self.flat.get(source, source))
                self.weights(name, source, each.weight.unflatten(1, given).numpy(), each.bias, given)
            case Affine() if len(each.gain) > 1:
                raise UserError(
                    f"{name} has a gain for each time step, and NIR knows no time steps: make its norms one for all, "
                    "sresnet finetune RUN --model.norm time-averaged, with --calibrate if without training"
                )
            case Affine():
                gain = np.diag(each.gain[0].numpy())[:, :, None, None]
                if each.shift is None or each.shift.ndim == 2:
                    self.weights(name, source, gain, None if each.shift is None else each.shift[0], shape)
                else:  # a potential that forgets all at once and rests at the shift adds it
                    self.weights(f"{name}.gain", source, gain, None, shape)
                    ones, rest = np.ones(shape, self.float_), each.shift[0].numpy().astype(self.float_)
                    self.add(name, nir.LI(tau=ones, r=ones, v_leak=rest), f"{name}.gain")
            case Spiking():
                self.neurons(each, source, shape)
            case Sum():
                self.sum(each, shape)
            case Pooling(kind="avg"):
                across = zip(self.sizes[source][1:], shape[1:], strict=True)
                if any(overhang(each, axis, *counts) for axis, counts in enumerate(across)):
                    raise UserError(
                        f"{name} averages windows that reach over the edge of {self.pixels(source)}, which NIR cannot "
                        "say: use images of an even size"
                    )
                windows = {"kernel_size": each.kernel, "stride": each.stride, "padding": each.padding}
                self.add(name, nir.AvgPool2d(**{key: np.array(value) for key, value in windows.items()}), source)
            case GlobalAverage():
                window = np.array(self.sizes[source][1:])
                self.add(name, nir.AvgPool2d(kernel_size=window, stride=window, padding=np.zeros(2, dtype=int)), source)
            case Picked():
                self.weights(name, source, np.eye(shape[0])[:, :, None, None], None, self.sizes[source], each.every)
            case Flattened():
                if self.sizes[source][1:] == (1, 1):
                    self.scale(name, source, 1.0, shape)
                    return
                takers = [other for other in self.program.operations if name in other.inputs]
                if not all(isinstance(other, Convolution | Linear) for other in takers):
                    raise UserError(f"{name} is flattened before something else than weights: NIR files lack that")
                self.flat[name] = source
            case Pooling():
                raise UserError(
                    f"{name} takes maxima, which NIR does not know: train with averages or strides, such as "
                    "--model.downsample avg"
                )
            case Product():
                raise UserError(f"{name} joins spikes by and, which NIR does not know: train with --model.join add")

    def convolution(self, each: Convolution, source: str) -> None:
        """A convolution; behind a flattened map, one of the whole map."""
        weight, shape = each.weight, self.sizes[source]
        if source in self.flat:
            shape = self.square(self.flat[source])
            weight = weight[:, :, 0, 0].unflatten(1, shape)
        if each.groups > 1:  # written out, as type checks of NIR know no groups
            inputs, outputs = weight.shape[1], len(weight) // each.groups
            whole = weight.new_zeros(len(weight), inputs * each.groups, *weight.shape[2:])
            for group in range(each.groups):
                rows = slice(group * outputs, (group + 1) * outputs)
                whole[rows, group * inputs : (group + 1) * inputs] = weight[rows]
            weight = whole
        node = self.weights(each.name, source, weight.numpy(), each.bias, shape)
        made = self.nodes[node]
        made.stride, made.padding, made.dilation = each.stride, each.padding, each.dilation
        made.output_type = {"output": np.array(self.sizes[each.name])}

    def weights(
        self, name: str, source: str, weight: np.ndarray, bias: Tensor | None, shape: Shape, stride: int = 1
    ) -> str:
        """A convolution without padding of maps of this shape; returns its name."""
        numbers = weight.astype(self.float_)
        node = nir.Conv2d(
            input_shape=shape[1:],
            weight=numbers,
            stride=(stride, stride),
            padding=(0, 0),
            dilation=(1, 1),
            groups=1,
            bias=np.zeros(len(weight), self.float_) if bias is None else bias.numpy().astype(self.float_),
        )
        node.input_type = {"input": np.array(shape)}
        rows, columns = (
            (side - kernel) // stride + 1 for side, kernel in zip(shape[1:], weight.shape[2:], strict=True)
        )
        node.output_type = {"output": np.array([len(weight), rows, columns])}
        return self.add(name, node, self.flat.get(source, source))

    def neurons(self, each: Spiking, source: str, shape: Shape) -> None:
        """Neurons, and the potential that they leave."""
        if each.scale != 1:
            source = self.scale(f"{each.name}.scale", source, each.scale, shape)
        threshold = np.full(shape, each.threshold, self.float_)
        if each.fires_at_threshold:
            threshold = np.nextafter(threshold, np.array(-math.inf, self.float_))
        if each.reset == "zero":
            zeros, tau = np.zeros(shape, self.float_), self.tau(each.leak, shape)
            if each.leak == 1:
                node = nir.IF(r=np.ones(shape, self.float_), v_threshold=threshold, v_reset=zeros)
            else:
                node = nir.LIF(tau=tau, r=tau, v_leak=zeros, v_threshold=threshold, v_reset=zeros)
            self.add(each.name, node, source)
            return
        if self.strict:
            raise UserError(
                f"{each.name} resets by subtraction, which takes a cycle in NIR: leave out --strict, or train with "
                "--model.reset zero"
            )
        potential, reset = f"{each.name}.potential", f"{each.name}.reset"
        self.add(potential, self.integrator(each.leak, shape), source)
        self.add(each.name, nir.Threshold(threshold=threshold), potential)
        self.scale(reset, each.name, -each.leak * each.threshold, shape)
        self.edges.append((reset, potential))

    def tau(self, leak: float, shape: Shape) -> np.ndarray:
        """Time constant of a leak, in steps."""
        return np.full(shape, math.inf if leak == 1 else 1 / (1 - leak), self.float_)

    def integrator(self, leak: float, shape: Shape) -> nir.NIRNode:
        """A potential that leaks, or does not."""
        if leak == 1:
            return nir.I(r=np.ones(shape, self.float_))
        tau = self.tau(leak, shape)
        return nir.LI(tau=tau, r=tau, v_leak=np.zeros(shape, self.float_))

    def sum(self, each: Sum, shape: Shape) -> None:
        """A sum, each part times its factor: whatever leads to a node is added up there."""
        factors: dict[str, float] = {}
        for source, factor in zip(each.inputs, each.factors, strict=True):
            factors[source] = factors.get(source, 0.0) + factor
        parts = [
            source if factor == 1 else self.scale(f"{each.name}.part{number}", source, factor, shape)
            for number, (source, factor) in enumerate(factors.items())
        ]
        self.add(each.name, nir.Scale(scale=np.ones(shape, self.float_)), *parts)

    def scale(self, name: str, source: str, factor: float, shape: Shape) -> str:
        """All values times a number; returns its name."""
        return self.add(name, nir.Scale(scale=np.full(shape, factor, self.float_)), source)

    def add(self, name: str, node: nir.NIRNode, *sources: str) -> str:
        """A node and the edges that lead to it; returns its name."""
        self.nodes[name] = node
        self.edges += [(source, name) for source in sources]
        return name

    def square(self, name: str) -> Shape:
        """Shape of a map that is taken whole; readers of NIR take all kernels to be square."""
        channels, height, width = self.sizes[name]
        if height != width:
            raise UserError(
                f"a fully connected layer takes the {self.pixels(name)} pixels of {name}, and kernels of NIR are "
                "square: give the network square images"
            )
        return channels, height, width

    def pixels(self, name: str) -> str:
        """Height and width of a map."""
        return "x".join(map(str, self.sizes[name][1:]))
