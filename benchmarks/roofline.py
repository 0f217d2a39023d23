"""Bytes, operations and predicted time of a training step on a GPU, counted from the code on tensors without memory.

    python benchmarks/roofline.py [--filters 32] [--steps 50] [--batch 128] [--depth 38] [--engine low-memory]

in an environment with triton, such as .venv-triton. Every launch of a Triton kernel and every operator of torch is
noted with its tensors. A kernel's bytes are its streams, each read or written once, and its time is the larger of

    bytes / bandwidth reached        and        instructions issued / rate reached

and a convolution's the larger of its bytes and FLOP / (peak * efficiency). What is reached is assumed, see `Card`:
nothing here was measured on a GPU.
"""

import argparse
import collections
import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import sresnet
from sresnet.nn.state import ForwardState
from sresnet.ops.dispatch import implementation
from sresnet.ops.scan import choice, operator
from sresnet.ops.scan.gpu import kernels, launch
from sresnet.processes import Part, Processes

STREAMS = {
    "statistics": ("x_at", "part_at"),
    "coefficients": ("part_at",),
    "scan": (
        "x_at", "residual_current_at", "residual_spikes_at", "v_at", "output_at", "given_current_at", "v_last_at",
        "bits_at", "between_at",
    ),
    "scan_back": (
        "x_at", "residual_current_at", "v_at", "bits_at", "between_at", "doutput_at", "dagain_at", "dcurrent_at",
        "dv_last_at", "dsum_at", "dy_at", "dx_at", "part_at",
    ),
    "gradient_coefficients": ("part_at",),
    "norm_back": ("x_at", "dy_at", "dx_at"),
    "leak_sum": ("part_at",),
    "unpack": ("words", "base_at", "output_at"),
}  # fmt: skip
"""What a kernel reads or writes once, by the names of its arguments."""
INSTRUCTIONS = {"statistics": 7, "scan": 15, "scan_back": 35, "norm_back": 7, "unpack": 9}
"""About as many for each neuron and step as the machine code for sm_90 has."""
LAUNCH = 2e-6
"""Seconds, in a CUDA graph; assumed."""


class Card(NamedTuple):
    """Datasheet, and what part of it is taken to be reached."""

    name: str
    bandwidth: float
    reached: float
    bf16: float
    fp32: float
    """FLOP/s outside the matrix units, two for each lane's instruction."""
    efficiency: tuple[float, float, float]
    """Of convolutions with 32 to 128 channels: low, middle, high."""


CARDS = (
    Card("A100", 2.0e12, 0.85, 312e12, 19.5e12, (0.2, 0.35, 0.5)),
    Card("H200", 4.8e12, 0.88, 990e12, 67e12, (0.12, 0.22, 0.35)),
)
ISSUE = 0.7
"""Of the rate of instructions."""
VIEWS = {
    "alias", "as_strided", "as_strided_", "clone", "detach", "empty", "empty_like", "empty_strided", "expand",
    "movedim", "new_empty", "new_empty_strided", "permute", "select", "slice", "split", "squeeze", "t", "transpose",
    "unbind", "unsqueeze", "view", "_unsafe_view", "_reshape_alias", "view_as", "_to_copy",
}  # fmt: skip
"""Operators that move nothing; on meta tensors convolutions forget that channels are last: clone makes up for it."""


def size(tensor: Any) -> int:
    """Bytes of a tensor, of several, of nothing."""
    if isinstance(tensor, Tensor):
        return tensor.numel() * tensor.element_size()
    return sum(map(size, tensor)) if isinstance(tensor, list | tuple) else 0


class Launch(NamedTuple):
    """A kernel's name and what it is launched with."""

    kernel: str
    given: dict[str, Any]

    def bytes(self) -> int:
        """What it moves between the chip and its memory."""
        total = sum(size(self.given.get(name)) for name in STREAMS[self.kernel])
        if self.kernel == "scan_back":  # dv and dx wait in memory between segments
            segments = self.given["SEGMENTS"]
            total += (2 * segments - 1) * size(self.given["dv_at"]) + 2 * (segments - 1) * size(self.given["dx_at"])
        return total

    def neuron_steps(self) -> int:
        """How many it goes through."""
        if self.kernel == "scan_back":
            return int(self.given["M"] * self.given["C"] * self.given["T"])
        stream = {"scan": "output_at", "unpack": "output_at", "statistics": "x_at", "norm_back": "x_at"}
        name = stream.get(self.kernel)
        return self.given[name].numel() if name else 0


class Recorder:
    """Stands for a kernel and notes its launches."""

    def __init__(self, kernel: Any, launches: list[Launch]) -> None:
        self.kernel, self.launches = kernel, launches

    def __getitem__(self, grid: Sequence[int]) -> Any:
        def launched(*given: Any, **named: Any) -> None:
            arguments = dict(zip(self.kernel.arg_names, given, strict=False)) | named
            self.launches.append(Launch(self.kernel.__name__, arguments))

        return launched


class Operators(TorchDispatchMode):
    """Bytes of every operator of torch that moves any, and FLOP and bytes of convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes: collections.Counter[str] = collections.Counter()
        self.calls = 0
        self.convolutions: dict[str, list[tuple[float, int]]] = collections.defaultdict(list)

    def __torch_dispatch__(self, f: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = f(*args, **(kwargs or {}))
        name = f.overloadpacket.__name__
        if name == "convolution":
            self.convolutions["forward"].append((2 * out.numel() * args[1][0].numel(), size(args[0]) + size(out)))
        elif name == "convolution_backward":
            (dy, x, weight), wanted = args[:3], args[-1]
            work = (2 * dy.numel() * weight[0].numel(), size(dy) + size(x))
            for kind, needed in zip(("input gradient", "weight gradient"), wanted, strict=False):
                if needed:
                    self.convolutions[kind].append(work)
        elif name not in VIEWS and not name.startswith("bntt_lif"):
            self.bytes[name] += size(args) + size(out)
            self.calls += 1
        return out


def counted(
    depth: int, filters: int, steps: int, batch: int, engine: Any, processes: Processes | None = None
) -> tuple[list[Launch], Operators, int]:
    """Launches, operators and bytes kept for backward of a training step of an S-ResNet in bfloat16.

    Args:
        processes: that share a batch, of which this one has `batch` images; None: there is one.
    """
    launches: list[Launch] = []
    found = {name: Recorder(each, launches) for name, each in vars(kernels).items() if hasattr(each, "arg_names")}
    # For good: this process computes nothing.
    vars(launch).update(kernels=SimpleNamespace(**found))
    vars(choice).update(_lies_on_gpu=lambda x: x.is_meta)
    vars(operator).update(passes=lambda values, device: True)
    model = sresnet.create_model(f"sresnet{depth}", num_steps=steps, base_filters=filters).to("meta")
    image = torch.empty(1, batch, 3, 32, 32, dtype=torch.bfloat16, device="meta")
    labels = torch.empty(batch, dtype=torch.long, device="meta")
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage()._cdata, tensor)
        return tensor

    operators = Operators()
    with operators, implementation(engine):
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            state = None if processes is None else ForwardState(v=None, part=Part(0, batch, batch), processes=processes)
            spikes = model.run_layers(image.expand(steps, *image.shape[1:]), state).spikes
        loss = F.cross_entropy(model.readout(spikes.float(), None).mean(0), labels)
        loss.backward()
    weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    return (
        launches,
        operators,
        sum(tensor.untyped_storage().nbytes() for at, tensor in kept.items() if at not in weights),
    )


def table(launches: list[Launch], operators: Operators) -> tuple[list[list[str]], dict[str, list[float]]]:
    """Rows of what a step is made of, and seconds of a step of each card: low, middle and high efficiency."""
    neuron_steps = sum(each.neuron_steps() for each in launches if each.kernel == "scan")
    seconds = {card.name: [0.0, 0.0, 0.0] for card in CARDS}
    rows = []

    def row(name: str, count: int, moved: float, times: dict[str, list[float]]) -> None:
        for card, three in times.items():
            seconds[card] = [before + one for before, one in zip(seconds[card], three, strict=True)]
        told = [" / ".join(dict.fromkeys(f"{1e3 * one:.1f}" for one in times[card.name])) for card in CARDS]
        rows.append([name, str(count), f"{moved / neuron_steps:.2f}", *told])

    for kernel in STREAMS:
        some = [each for each in launches if each.kernel == kernel]
        moved = sum(each.bytes() for each in some)
        issued = INSTRUCTIONS.get(kernel, 0) * sum(each.neuron_steps() for each in some)
        times = {}
        for card in CARDS:
            time = max(moved / (card.bandwidth * card.reached), issued / (card.fp32 / 2 * ISSUE))
            times[card.name] = [time + len(some) * LAUNCH] * 3
        if some:
            row(f"`{kernel}`", len(some), moved, times)
    moved = sum(operators.bytes.values())
    times = {card.name: [moved / (card.bandwidth * card.reached) + operators.calls * LAUNCH] * 3 for card in CARDS}
    row("other operators of torch", operators.calls, moved, times)
    for kind, work in operators.convolutions.items():
        times = {
            card.name: [
                sum(max(flop / (card.bf16 * part), moved / (card.bandwidth * card.reached)) for flop, moved in work)
                for part in reversed(card.efficiency)
            ]
            for card in CARDS
        }
        row(f"convolutions, {kind}", len(work), sum(moved for _, moved in work), times)
    return rows, seconds


def main() -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("filters", 32), ("steps", 50), ("batch", 128), ("depth", 38)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--engine", choices=("fastest", "low-memory"), default="fastest")
    parser.add_argument("--json", action="store_true", help="print launches and bytes of each kernel, and nothing else")
    chosen = parser.parse_args()
    launches, operators, kept = counted(chosen.depth, chosen.filters, chosen.steps, chosen.batch, chosen.engine)
    if chosen.json:
        calls = collections.Counter(each.kernel for each in launches)
        print(json.dumps({name: [calls[name], sum(e.bytes() for e in launches if e.kernel == name)] for name in calls}))
        return
    neuron_steps = sum(each.neuron_steps() for each in launches if each.kernel == "scan")
    flop = sum(work[0] for kind in operators.convolutions.values() for work in kind)
    rows, seconds = table(launches, operators)
    print(f"S-ResNet{chosen.depth}-{chosen.filters}, T = {chosen.steps}, batch {chosen.batch}, bfloat16: ", end="")
    print(f"{neuron_steps / 1e9:.2f} G neuron-steps, {flop / 1e12:.1f} TFLOP, ", end="")
    print(f"{kept / 1e9:.1f} GB kept for backward, {kept / neuron_steps:.2f} bytes per neuron and step.\n")
    print("| predicted | calls | bytes per neuron and step |" + "".join(f" {card.name}, ms |" for card in CARDS))
    print("| --- |" + " --- |" * (2 + len(CARDS)))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    total = [" / ".join(f"{1e3 * one:.0f}" for one in seconds[card.name]) for card in CARDS]
    print("| a step | | | " + " | ".join(total) + " |")
    epoch = [" / ".join(f"{one * 50000 / chosen.batch:.0f} s" for one in seconds[card.name]) for card in CARDS]
    print("| an epoch of 50,000 images | | | " + " | ".join(epoch) + " |")


if __name__ == "__main__":
    main()
