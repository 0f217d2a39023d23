"""The networks that come with the package, exported and run elsewhere: python experiments/exports.py DATA_DIR.

Every one of them as ONNX (a sequence, a stream, and with weights of eight bits), torch.export and C (32 and 8 bits), on
all of its test images. Rows that are finished are not repeated. Writes results/exports.json and a table beside it.
"""

import argparse
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from experiment import RESULTS

from sresnet.analysis.walk import batches_of
from sresnet.config import from_dict
from sresnet.data import Splits, open_data
from sresnet.data.scaling import scaling_from_plain
from sresnet.export.comparison import Comparison, compared
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
    for network in () if options.tables else shipped():
        recipe = from_dict(Recipe, card_of(network).recipe, network)
        splits = open_data(recipe.data, options.data_dir, seed=recipe.seed, num_steps=recipe.model.num_steps)
        for name, config in CONFIGS.items():
            if (network, name) not in rows:
                rows[network, name] = tried(network, name, config, recipe, splits)
                write_json(PATH, [asdict(row) for row in rows.values()])
                print(network, name, rows[network, name].comparison)
    write_whole(PATH.with_suffix(".md"), ("\n".join(table(list(rows.values()))) + "\n").encode())


def read() -> list[Row]:
    """The rows of the record."""
    return [from_dict(Row, values, str(PATH)) for values in read_json(PATH)] if PATH.exists() else []


def tried(network: str, name: str, config: ExportConfig, recipe: Recipe, splits: Splits) -> Row:
    """Export a network, write the file, open it again and run it on all test images; RuntimeError for other scores."""
    card, model = card_of(network), load_shipped(network)
    scaling, cpu = scaling_from_plain(card.scaling), torch.device("cpu")
    example = scaling(splits.test.batch(torch.tensor([0])))
    origin: dict[str, Any] = {"class_names": card.class_names, "data": recipe.data, "seed": recipe.seed}
    about = about_export(model, example, config, scaling=scaling, **origin)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"network{ENDINGS[config.to]}")
        file = exported(model, example, config)(replace(about, part="test"))
        path.write_bytes(file.content)
        about, runs = open_file(path)
        batches = batches_of(splits.test, scaling, batch_size=50, device=cpu)
        seed = seed_of("evaluate", recipe.seed)
        found = compared(model, runs, about, batches, config, seed=seed)
    if found.wrong:
        raise RuntimeError(f"{network} as {name}: {found.wrong} of {found.images} images have other scores")
    environment = record.environment(cpu)
    return Row(
        network=network,
        file=name,
        size=len(file.content),
        notes=file.notes,
        comparison=found,
        command=COMMAND,
        environment=record.without_places(environment),
    )


def table(rows: list[Row]) -> list[str]:
    """The lines of results/exports.md."""
    lines = [
        "# Exported networks, run elsewhere",
        "",
        f"Made by `{COMMAND}` from `exports.json`: the networks that come with the package,",
        f"written as files, opened again and run by {', '.join(RUNTIMES.values())} on all of their test images.",
        "Scores after every step are compared with those of a program in float64 (files of eight bits: with weights",
        "rounded likewise). Images with a potential within 2e-5 of a threshold at any step, where rounding may decide",
        "whether a neuron spikes, are counted apart; of all others no score may differ by 1e-4 of the largest or more.",
        "",
        "| network | file | bytes | accuracy before, % | after, % | images | same scores | near | of them the same |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        found = row.comparison
        same, near = found.images - found.near - found.wrong, found.near - found.near_and_other
        lines.append(
            f"| {row.network} | {row.file} | {row.size:,} | {found.top1_before:.2f} | {found.top1_after:.2f} | "
            f"{found.images:,} | {same:,} of {found.images - found.near:,} | {found.near:,} | {near:,} |"
        )
    return lines


if __name__ == "__main__":
    main()
