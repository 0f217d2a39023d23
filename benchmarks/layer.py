"""What a layer's norm, residual and neurons cost beside its convolution.

    python benchmarks/layer.py [--threads 2] [--seconds 10] [--dtypes float32 bfloat16]

Forward and backward of a convolution alone, of the fused op alone and of its reference, channels last, called in turn
in one process, so that whatever else the machine does falls on all of them. Prints the fastest time of each, and the
median of the ratios within a round with the middle half of them. A large median beside a small minimum says that the
machine was busy.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sresnet.ops.bntt_lif import bntt_lif
from sresnet.ops.dispatch import implementation
from sresnet.ops.neuron import LIFConstants
from sresnet.ops.norm import NormState
from sresnet.ops.surrogate import Triangle

SHAPES = [(10, 16, 16, 32), (10, 16, 32, 16), (10, 16, 64, 8)]


def rows(*shape: int, dtype: torch.dtype) -> Tensor:
    """Random numbers [..., C, H, W], channels last in memory."""
    *before, channels, height, width = shape
    return torch.randn(*before, height, width, channels).to(dtype).movedim(-1, -3)


def contenders(T: int, N: int, C: int, H: int, dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    """One training step of each on the same numbers: an S2S layer with BNTT."""
    spikes = (rows(T * N, C, H, H, dtype=dtype) > 0.8).to(dtype).requires_grad_()
    weight = rows(C, C, 3, 3, dtype=dtype).mul_(0.1).requires_grad_()
    gradient = rows(T * N, C, H, H, dtype=dtype)

    def convolution() -> object:
        return torch.autograd.grad(F.conv2d(spikes, weight, padding=1), [spikes, weight], gradient)

    x, residual_spikes = rows(T, N, C, H, H, dtype=dtype).requires_grad_(), rows(T, N, C, H, H, dtype=dtype)
    gamma = torch.ones(T, C, requires_grad=True)
    norm = NormState(gamma=gamma, running_mean=torch.zeros(T, C), running_var=torch.ones(T, C))
    neuron = LIFConstants(leak=0.874, surrogate=Triangle())

    def rest(name: Literal["fastest", "reference"]) -> object:
        with implementation(name):
            output = bntt_lif(x, norm, neuron, residual_spikes=residual_spikes).output
        return torch.autograd.grad(output, [x, gamma], gradient.unflatten(0, (T, N)))

    return {"convolution": convolution, "fused": lambda: rest("fastest"), "reference": lambda: rest("reference")}


def measure(calls: dict[str, Callable[[], object]], seconds: float) -> dict[str, list[float]]:
    """Seconds of each call, taken in turn for about this long; the first round is not counted."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = 0.0
    while not end or time.perf_counter() < end or len(times["fused"]) < 5:
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
        if not end:
            end = time.perf_counter() + seconds
            times = {name: [] for name in calls}
    return times


def ratio(these: list[float], those: list[float]) -> str:
    """Median of these / those within a round, and the middle half of it."""
    low, middle, high = statistics.quantiles((a / b for a, b in zip(these, those, strict=True)), n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=10.0, help="for a row")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {arguments.threads} threads")
    print("[T, N, C, H] dtype: fastest ms of convolution, fused, reference | median ratio (middle half)")
    for T, N, C, H in SHAPES:
        for dtype in arguments.dtypes:
            times = measure(contenders(T, N, C, H, getattr(torch, dtype)), arguments.seconds)
            fastest = ", ".join(f"{min(each) * 1e3:.2f}" for each in times.values())
            fused = times["fused"]
            print(
                f"[{T}, {N}, {C}, {H}] {dtype}: {fastest} | fused / convolution {ratio(fused, times['convolution'])}, "
                f"fused / reference {ratio(fused, times['reference'])}, {len(fused)} rounds",
                flush=True,
            )


if __name__ == "__main__":
    main()
