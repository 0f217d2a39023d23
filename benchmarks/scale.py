"""Predicted time of a training step on 1 to 64 GPUs: what each computes, and what they tell each other.

    python benchmarks/scale.py [--filters 32] [--steps 50] [--batch 128] [--depth 38]

in an environment with triton, such as .venv-triton. A GPU computes what `roofline.py` counts for its part of the
images; layers are divided at their statistics, and every sum over processes is noted with its bytes. A sum of n bytes
over K GPUs takes

    latency + 2 (K - 1) / K * n / bandwidth

with the numbers of `LINKS`, which are assumed. Sums wait for what is computed before them, and nothing is computed
meanwhile. Steps without CUDA graphs, as they are with several processes: `--launch` is what starting a kernel takes,
and a step takes at least as long as starting all of them. Nothing here was measured on a GPU.
"""

import argparse
from typing import NamedTuple

import roofline
from torch import Tensor

import sresnet
from sresnet.processes import Processes

GPUS = (1, 2, 4, 8, 16, 32, 64)
IN_A_MACHINE = 8


class Link(NamedTuple):
    """What a sum over processes takes, assumed."""

    latency: float
    """Seconds."""
    bandwidth: float
    """Bytes a second that a GPU sends, reached."""


LINKS = {"NVLink": Link(20e-6, 300e9), "InfiniBand": Link(40e-6, 40e9)}
"""In a machine, and between machines: 400 Gbit/s for each GPU."""


class Counting(Processes):
    """A process that notes the bytes of what it would add up."""

    sums: list[int]

    def add_up(self, tensor: Tensor) -> Tensor:
        """The tensor itself."""
        self.sums.append(roofline.size(tensor))
        return tensor


def sums_of(sizes: list[int], gpus: int) -> float:
    """Seconds that sums of these bytes take, one after the other."""
    if gpus == 1:
        return 0.0
    link = LINKS["NVLink" if gpus <= IN_A_MACHINE else "InfiniBand"]
    return sum(link.latency + 2 * (gpus - 1) / gpus * size / link.bandwidth for size in sizes)


def main() -> None:
    """Print the tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("filters", 32), ("steps", 50), ("batch", 128), ("depth", 38)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--launch", type=float, default=5e-6)
    chosen = parser.parse_args()
    shape = chosen.depth, chosen.filters, chosen.steps
    model = sresnet.create_model(f"sresnet{chosen.depth}", num_steps=chosen.steps, base_filters=chosen.filters)
    gradients = 4 * sum(parameter.numel() for parameter in model.parameters())

    def step(images: int, gpus: int) -> tuple[list[float], list[int]]:
        """Seconds that each card computes at middle efficiency, and the bytes of what is added up."""
        process = Counting()
        object.__setattr__(process, "sums", [])  # of a frozen class
        launches, operators, _ = roofline.counted(*shape, images, "fastest", None if gpus == 1 else process)
        calls = len(launches) + operators.calls + sum(map(len, operators.convolutions.values()))
        least = chosen.launch * calls if gpus > 1 else 0.0
        _, seconds = roofline.table(launches, operators)
        return [max(three[1], least) for three in seconds.values()], process.sums

    names = [card.name for card in roofline.CARDS]
    print(f"S-ResNet{chosen.depth}-{chosen.filters}, T = {chosen.steps}, bfloat16: ", end="")
    _, sizes = step(2, 2)
    print(f"{len(sizes)} sums of statistics, {sum(sizes) / 1e6:.2f} MB, and {gradients / 1e6:.2f} MB of gradients.\n")
    for said, grows in ((f"{chosen.batch} images in all", False), (f"{chosen.batch} images for each GPU", True)):
        print(f"| {said}, predicted | images of a GPU |" + "".join(
            f" {name}: computes, ms | adds up, ms | images/s | of K times one GPU |" for name in names
        ))  # fmt: skip
        print("| --- | --- |" + " --- |" * 4 * len(names))
        alone: list[float] = []
        for gpus in GPUS:
            images = chosen.batch if grows else -(-chosen.batch // gpus)
            computing, sizes = step(images, gpus)
            adding = sums_of([*sizes, gradients], gpus)
            rates = [(chosen.batch * (gpus if grows else 1)) / (seconds + adding) for seconds in computing]
            alone = alone or rates
            cells = [
                f" {1e3 * seconds:.1f} | {1e3 * adding:.1f} | {rate:,.0f} | {100 * rate / (gpus * one):.0f} % |"
                for seconds, rate, one in zip(computing, rates, alone, strict=True)
            ]
            print(f"| {gpus} GPU{'s' if gpus > 1 else ''} | {images} |" + "".join(cells))
        print()


if __name__ == "__main__":
    main()
