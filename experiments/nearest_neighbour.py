"""Accuracy of the nearest training clip on an event data set, to hold a network's against.

    python experiments/nearest_neighbour.py RECIPE DATA_DIR [--field value ...]

RECIPE and fields as in `sresnet train`. Each clip is the sum of its frames over time, so that nothing moves any more,
scaled to length 1; a test clip gets the class of the training clip with the largest scalar product. Prints clips,
chance (the largest class of the test clips) and accuracy.
"""

import sys

import torch
from torch import Tensor

from sresnet.cli.parse import parse
from sresnet.cli.train import TrainOptions, recipe_fields
from sresnet.data import Samples, Splits, open_data
from sresnet.train.recipes import RECIPES


def vectors(samples: Samples) -> Tensor:
    """Clips summed over time, each of length 1: float32 [N, 2 * H * W]."""
    parts = [
        samples.batch(torch.arange(start, min(start + 100, len(samples)))).sum(1, dtype=torch.float32).flatten(1)
        for start in range(0, len(samples), 100)
    ]
    return torch.nn.functional.normalize(torch.cat(parts))


def nearest_neighbour(splits: Splits) -> float:
    """Percent of the test clips that have the class of the nearest training clip."""
    nearest = (vectors(splits.test) @ vectors(splits.train).T).argmax(1)
    hits = splits.train.labels[nearest] == splits.test.labels
    return 100 * hits.float().mean().item()


def largest_class(samples: Samples) -> float:
    """Percent of the clips that have the most frequent class."""
    return 100 * samples.labels.bincount().max().item() / len(samples)


def main() -> None:
    """Compare and print."""
    if len(sys.argv) < 3 or sys.argv[1] not in RECIPES:
        raise SystemExit(__doc__)
    name, data_dir, *flags = sys.argv[1:]
    options = parse(TrainOptions(**recipe_fields(RECIPES[name][1])), flags, sys.argv[0], "")
    splits = open_data(
        options.data,
        data_dir,
        seed=options.seed,
        num_steps=options.model.num_steps,
        cache_dir=options.cache_dir,
    )
    print(
        f"{name}, split {splits.about['name']}: {len(splits.train):,} training clips, {len(splits.test):,} test clips, "
        f"largest class {largest_class(splits.test):.2f} %, nearest neighbour {nearest_neighbour(splits):.2f} %"
    )


if __name__ == "__main__":
    main()
