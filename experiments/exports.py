"""The networks that come with the package, exported and run elsewhere: python experiments/exports.py DATA_DIR.

Every one of them as ONNX (a sequence, a stream, weights of 8 and 4 bits), torch.export and C (32, 8 and 4 bits), on
all of its test images. Rows that are finished are not repeated. Writes results/exports.json and a table beside it.
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from experiment import RESULTS

from sresnet.analysis.walk import batches_of
from sresnet.config import from_dict
from sresnet.data import Splits, open_data
from sresnet.data.scaling import scaling_from_plain
from sresnet.export.comparison import Comparison, compared, expected
from sresnet.export.target import ENDINGS, RUNTIMES, ExportConfig, about_export, exported, open_file
from sresnet.files import read_json, write_json, write_whole
from sresnet.models.pretrained import card_of, load_shipped, shipped
from sresnet.randomness import seed_of
from sresnet.train import record
from sresnet.train.recipe import Recipe

COMMAND = "python experiments/exports.py DATA_DIR"
"""What makes the record."""
PATH = RESULTS / "exports.json"
CONFIGS: dict[str, ExportConfig] = {
    "onnx": ExportConfig(to="onnx"),
    "onnx, one step": ExportConfig(to="onnx", streaming=True),
    "onnx, 8 bits": ExportConfig(to="onnx", weight_bits=8),
    "torch-export": ExportConfig(to="torch-export"),
    "c": ExportConfig(to="c"),
    "c, 8 bits": ExportConfig(to="c", weight_bits=8),
    "onnx, 4 bits": ExportConfig(to="onnx", weight_bits=4),
    "c, 4 bits": ExportConfig(to="c", weight_bits=4),
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One network as one kind of file."""

    network: str
    file: str
    """A name in `CONFIGS`."""
    size: int
    """Of the file, bytes."""
    notes: tuple[str, ...]
    comparison: Comparison
    command: str
    environment: dict[str, Any]


def main() -> None:
    """Export, compare and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir")
    parser.add_argument("--tables", action="store_true", help="compare nothing, write the table of the record again")
    options = parser.parse_args()
    rows = {(row.network, row.file): row for row in read()}
    for network in () if options.tables else sorted(shipped(), key=lambda name: card_of(name).test_images):
        recipe = from_dict(Recipe, card_of(network).recipe, network)
        splits = open_data(recipe.data, options.data_dir, seed=recipe.seed, num_steps=recipe.model.num_steps)
        for bits in (32, 8, 4):
            left = {
                name: config
                for name, config in CONFIGS.items()
                if config.weight_bits == bits and (network, name) not in rows
            }
            for row in tried(network, left, recipe, splits):
                rows[network, row.file] = row
                write_json(PATH, [asdict(each) for each in rows.values()])
                print(network, row.file, row.comparison, flush=True)
    write_whole(PATH.with_suffix(".md"), ("\n".join(table(list(rows.values()))) + "\n").encode())


def read() -> list[Row]:
    """The rows of the record."""
    return [from_dict(Row, values, str(PATH)) for values in read_json(PATH)] if PATH.exists() else []


def tried(network: str, configs: dict[str, ExportConfig], recipe: Recipe, splits: Splits) -> Iterator[Row]:
    """Export a network, write each file, open it again and run it on all test images.

    Args:
        network: its name.
        configs: files with weights of the same bits, by name; what they should give is computed once.
        recipe: of the network.
        splits: its data.

    Raises:
        RuntimeError: a file gives other scores.
    """
    if not configs:
        return
    card, model = card_of(network), load_shipped(network)
    scaling, cpu = scaling_from_plain(card.scaling), torch.device("cpu")
    example = scaling(splits.test.batch(torch.tensor([0])))
    origin: dict[str, Any] = {"class_names": card.class_names, "data": recipe.data, "seed": recipe.seed}
    batches = batches_of(splits.test, scaling, batch_size=50, device=cpu)
    one = next(iter(configs.values()))
    should = list(expected(model, batches, one, seed=seed_of("evaluate", recipe.seed)))
    for name, config in configs.items():
        about = about_export(model, example, config, scaling=scaling, **origin)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"network{ENDINGS[config.to]}")
            file = exported(model, example, config)(replace(about, part="test"))
            path.write_bytes(file.content)
            about, runs = open_file(path)
            found = compared(runs, about, should)
        if found.wrong:
            raise RuntimeError(f"{network} as {name}: {found.wrong} of {found.images} images have other scores")
        yield Row(
            network=network,
            file=name,
            size=len(file.content),
            notes=file.notes,
            comparison=found,
            command=COMMAND,
            environment=record.without_places(record.environment(cpu)),
        )


def table(rows: list[Row]) -> list[str]:
    """The lines of results/exports.md."""
    runtimes = dict.fromkeys(RUNTIMES[config.to] for config in CONFIGS.values())
    lines = [
        "# Exported networks, run elsewhere",
        "",
        f"Made by `{COMMAND}` from `exports.json`: the networks that come with the package,",
        f"written as files, opened again and run on all of their test images by {', '.join(runtimes)}.",
        "Scores after every step are compared with those of a program in float64 (files of fewer bits: with weights",
        "rounded likewise). Images with a potential within 2e-5 of a threshold at any step, where rounding may decide",
        "whether a neuron spikes, are counted apart; of all others no score may differ by 1e-4 of the largest or more.",
        "",
        "| network | file | bytes | accuracy before, % | after, % | images | same scores | near | of them the same |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        found = row.comparison
        lines.append(
            f"| {row.network} | {row.file} | {row.size:,} | {found.top1_before:.2f} | {found.top1_after:.2f} | "
            f"{found.images:,} | {found.same:,} of {found.apart:,} | {found.near:,} | {found.near_and_same:,} |"
        )
    return lines


if __name__ == "__main__":
    main()
