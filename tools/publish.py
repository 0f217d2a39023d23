"""Makes a finished run a network that comes with the package.

python tools/publish.py RUN NAME [--half] [--data-dir DIR]
python tools/publish.py --energy NAME [--data-dir DIR]

Copies the run's weights as they are and writes a card beside them from the run's own records. `--half` stores the
weights of convolutions and readout in float16, half the size, and says on the card what that changes on the images that
the run held out. Where weights are rounded, or the run was evaluated in bfloat16, the file is evaluated on the test
images in float32, and that is what the card states; nothing is chosen by it. `sresnet analyse RUN` before it puts
operations and energy on the card. A name that is there already is refused.

`--energy` counts operations and energy of a network that is shipped, by its file, on 500 test images, and writes them
onto its card.
"""

import argparse
import hashlib
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sresnet.analysis import analyse, batches_of, spread
from sresnet.config import from_dict, to_dict
from sresnet.data import open_data
from sresnet.data.samples import matched
from sresnet.data.scaling import scaling_from_plain
from sresnet.errors import UserError
from sresnet.files import read_json, write_json, write_whole
from sresnet.models import SResNetConfig
from sresnet.models.pretrained import Card, facts_of, shipped
from sresnet.models.saved import WEIGHTS, load, model_bytes
from sresnet.randomness import seed_of
from sresnet.report.analysis_files import ANALYSIS
from sresnet.train import record
from sresnet.train.command import command
from sresnet.train.evaluate import evaluate
from sresnet.train.recipe import Recipe

SHIPPED = Path(__file__).parents[1] / "src" / "sresnet" / "models" / "pretrained"
LICENCE = "Apache-2.0, as the package"
DATA_LICENCES = {
    "digits": "Optical Recognition of Handwritten Digits (UCI repository, CC BY 4.0), through scikit-learn",
    "cifar10": "CIFAR-10 (Krizhevsky 2009), no formal licence",
    "cifar100": "CIFAR-100 (Krizhevsky 2009), no formal licence",
    "digits-dvs": "simulated from Optical Recognition of Handwritten Digits (UCI repository, CC BY 4.0)",
    "cifar10-dvs-sim": "simulated from CIFAR-10 (Krizhevsky 2009), no formal licence",
    "nmnist": "N-MNIST (Orchard et al. 2015), CC BY-SA 4.0",
}


def publish(run: Path, name: str, folder: Path = SHIPPED, *, half: bool = False, data_dir: str = "") -> list[Path]:
    """Write weights and card of `run` into `folder`; returns the files.

    Args:
        run, name, folder: finished run, name of the network, where the files go.
        half: store convolutions and readout in float16.
        data_dir: folder of the run's data, for what has to be evaluated again.

    Raises:
        UserError: the run is not finished or has no test accuracy, its weights are of another network than its
            configuration, its data may not be named a licence for, there is a network of that name, or a run that is
            to be rounded held no images out.
    """
    paths = [folder / f"{name}.{ending}" for ending in ("safetensors", "json", "md")]
    for path in paths:
        if path.exists():
            raise UserError(f"{path} exists: choose another name")
    card, content = card_of_run(run, name, half, data_dir)
    write_whole(paths[0], content)
    write_json(paths[1], to_dict(card))
    write_whole(paths[2], ("\n".join(card_lines(card)) + "\n").encode())
    return paths


def card_of_run(run: Path, name: str, half: bool, data_dir: str) -> tuple[Card, bytes]:
    """The card of a finished run, and its weights; errors as `publish`."""
    if not (run / record.RESULT).exists():
        raise UserError(f"{run} has no {record.RESULT}: train it to the end first")
    recipe, result = record.read_recipe(run), read_json(run / record.RESULT)
    if "test_top1" not in result:
        raise UserError(f"{run / record.RESULT} has no test accuracy: only a run that has one is published")
    model = load(run)
    if model.config != recipe.model:
        raise UserError(f"{run / WEIGHTS} is of another network than {record.CONFIG}: publish the folder as it was")
    if recipe.data.name not in DATA_LICENCES:
        raise UserError(
            f"{recipe.data.name} is not one particular data set: only runs on known data sets are published"
        )
    content = (run / WEIGHTS).read_bytes()
    rounding, recorded, top1 = None, None, result["test_top1"]
    if half:
        content, rounding = rounded(run, data_dir)
    if half or recipe.train.precision != "fp32":
        recorded, top1 = top1, top1_of(content, run, data_dir)
    about, environment = record.read_about(run), read_json(run / record.ENVIRONMENT)
    card = Card(
        name=name,
        model=model_name(recipe),
        data=recipe.data.name,
        command=command(recipe) + ("" if recipe.data.name in ("digits", "digits-dvs") else " --data-dir DIR"),
        recipe=json.loads(json.dumps(to_dict(recipe))),
        seed=recipe.seed,
        test_top1=top1,
        recorded_top1=recorded,
        test_images=result["test_images"],
        protocol=recipe.train.protocol,
        simulated=bool(result["split"].get("simulated")),
        energy=energy_of(run),
        class_names=tuple(about.pop("class_names")),
        image_size=tuple(about.pop("image_size")),
        scaling={name: value for name, value in about.items() if name != "fingerprint"},
        licence=LICENCE,
        data_licence=DATA_LICENCES[recipe.data.name],
        environment=record.without_places(environment),
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        rounding=rounding,
    )
    return card, content


def measure(name: str, folder: Path = SHIPPED, *, data_dir: str = "", images: int = 500) -> list[Path]:
    """Count operations and energy of a shipped file on test images, onto its card; returns the files that it wrote.

    Args:
        name, folder: network, and where the files are.
        data_dir: folder of its data.
        images: how many, evenly spread over the test images.

    Raises:
        UserError: as `open_data`, or the file is not the card's.
    """
    card = from_dict(Card, read_json(folder / f"{name}.json"))
    content = (folder / f"{name}.safetensors").read_bytes()
    if hashlib.sha256(content).hexdigest() != card.sha256:
        raise UserError(f"{name}.safetensors is not the file that its card is of: publish the run anew")
    recipe = from_dict(Recipe, card.recipe)
    test = open_data(recipe.data, data_dir, seed=recipe.seed, num_steps=recipe.model.num_steps).test
    test = matched(test, card.class_names)
    test = test.subset(spread(len(test), images))
    model = load(folder / f"{name}.safetensors")
    batches = batches_of(test, scaling_from_plain(card.scaling))
    found = analyse(model, batches, seed=seed_of("evaluate", recipe.seed)).plain()
    energy = totals_of(found | {"part": "test"}) | {"sha256": card.sha256}
    environment = record.environment(torch.device("cpu"))
    energy |= {name: environment[name] for name in ("sresnet", "torch", "device")}
    card = replace(card, energy=energy)
    paths = [folder / f"{name}.{ending}" for ending in ("json", "md")]
    write_json(paths[0], to_dict(card))
    write_whole(paths[1], ("\n".join(card_lines(card)) + "\n").encode())
    return paths


def top1_of(content: bytes, run: Path, data_dir: str) -> float:
    """Percent of the test images of a run that a file of these weights gives, as `sresnet evaluate` does."""
    recipe, about = record.read_recipe(run), record.read_about(run)
    test = open_data(recipe.data, data_dir, seed=recipe.seed, num_steps=recipe.model.num_steps).test
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / WEIGHTS
        path.write_bytes(content)
        model = load(path)
    seed = seed_of("evaluate", recipe.seed)
    return evaluate(model, matched(test, about["class_names"]), scaling_from_plain(about), seed=seed).top1


def rounded(run: Path, data_dir: str) -> tuple[bytes, dict[str, Any]]:
    """The run's weights with convolutions and readout in float16, and what that changes on held-out images."""
    recipe = record.read_recipe(run)
    held_out = open_data(recipe.data, data_dir, seed=recipe.seed, num_steps=recipe.model.num_steps).validation
    if held_out is None:
        raise UserError(f"{run} held no images out: what rounding changes must not be measured on test images")
    about = record.read_about(run)
    held_out = matched(held_out, about["class_names"])
    model, scaling = load(run), scaling_from_plain(about)
    before = evaluate(model, held_out, scaling)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.weight.data = module.weight.data.half()
    content = model_bytes(model)
    after = evaluate(model.float(), held_out, scaling)
    found = {"held_out_images": before.images, "held_out_top1_before": before.top1, "held_out_top1": after.top1}
    return content, {"stored": "float16"} | found


def model_name(recipe: Recipe) -> str:
    """What `create_model` calls the network."""
    if not isinstance(recipe.model, SResNetConfig):
        return "vgg11"
    return f"{'resnet' if recipe.model.neuron == 'relu' else 'sresnet'}{recipe.model.depth}"


def energy_of(run: Path) -> dict[str, Any] | None:
    """Operations and energy per image, where `sresnet analyse` has counted them for all time steps."""
    path = run / "analysis" / ANALYSIS
    found = read_json(path) if path.exists() else None
    if found is None or "other_data" in found or found["num_steps"] != record.read_recipe(run).model.num_steps:
        return None
    return totals_of(found)


def totals_of(found: dict[str, Any]) -> dict[str, Any]:
    """The sums of an analysis."""
    # "twin...": what older analyses call the ANN counterpart
    totals, joules = (
        {name.replace("twin", "ann"): value for name, value in each.items()}
        for each in (found["totals"], found["energy_microjoules"]["float32"])
    )
    return {
        "images": found["images"],
        "part": found["part"],
        "spikes": totals["spikes"],
        "additions": totals["additions"],
        "multiply_accumulates": totals["multiply_accumulates"],
        "ann_multiply_accumulates": totals["ann_multiply_accumulates"],
        "microjoules_float32_45nm": joules,
    }


def card_lines(card: Card) -> list[str]:
    """The card for people."""
    energy = "not counted"
    if card.energy and card.energy_against_ann:
        joules = card.energy["microjoules_float32_45nm"]
        energy = (
            f"{card.energy['additions']:,.0f} additions and {card.energy['multiply_accumulates']:,.0f} "
            f"multiply-accumulates per image (mean of {card.energy['images']:,} {card.energy['part']} images); their "
            f"arithmetic in float32 at 45 nm: {joules['synapses']:.3g} microjoules, and {joules['updates']:.3g} for "
            f"the neurons; the ANN counterpart {joules['ann']:.3g}: "
            f"{100 * card.energy_against_ann:.0f} % of it"
        )
    simulated = " (SIMULATED recordings)" if card.simulated else ""
    bf16 = card.recipe["train"]["precision"] == "bf16"
    recorded = "" if card.recorded_top1 is None else f"{card.recorded_top1:.2f} % of the same images"
    recorded += ", with convolutions in bfloat16, as it was trained" if bf16 else ""
    recorded += ", weights before rounding" if card.rounding else ""
    rows = {
        "data": f"{card.data}{simulated}, {len(card.class_names)} classes",
        "network": f"{card.model}, T = {card.recipe['model']['num_steps']}",
        "command": f"`{card.command}`",
        "test accuracy": f"{card.test_top1:.2f} % of {card.test_images:,} images with this file in float32 (`sresnet "
        f"evaluate {card.name}`); one run, seed {card.seed}, protocol {card.protocol}",
        **({"recorded by the run": recorded} if card.recorded_top1 is not None else {}),
        "operations, energy": energy,
        "trained with": f"sresnet {card.environment['sresnet']}, revision {card.environment['revision'] or 'unknown'}, "
        f"torch {card.environment['torch']}, {card.environment['device']}",
        **({"rounded": rounded_line(card.rounding)} if card.rounding else {}),
        "licence": card.licence,
        "learned from": card.data_licence,
        "file": f"{card.bytes:,} bytes, sha256 `{card.sha256}`",
    }
    return [
        f"# {card.name}",
        "",
        f"Made by `python tools/publish.py RUN {card.name}` from the records of the run, all of which are in",
        f"`{card.name}.json`. One run says nothing about the spread over seeds.",
        "",
        "| | |",
        "| --- | --- |",
        *(f"| {name} | {value} |" for name, value in rows.items()),
    ]


DATA = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "digits": "digits, 8x8 pixels"}
"""What README calls data sets, where not by their names."""


def readme_row(card: Card) -> str:
    """The row of README's table."""
    facts = facts_of(card)
    energy = "not counted" if facts.energy_against_ann is None else f"{100 * facts.energy_against_ann:.0f} %"
    cells = (
        f"[`{card.name}`](src/sresnet/models/pretrained/{card.name}.md)",
        DATA.get(card.data, card.data) + (" (simulated)" if card.simulated else ""),
        str(facts.num_steps),
        f"{facts.parameters:,}",
        f"{card.test_top1:.2f} %",
        energy,
        f"{card.bytes / 1e6:.1f} MB",
    )
    return f"| {' | '.join(cells)} |"


def rounded_line(rounding: dict[str, Any]) -> str:
    """What the card says of weights that were rounded."""
    return (
        f"weights of convolutions and readout are stored in {rounding['stored']}; "
        f"on {rounding['held_out_images']:,} held-out images {rounding['held_out_top1_before']:.2f} % before, "
        f"{rounding['held_out_top1']:.2f} % after"
    )


def main() -> None:
    """Publish, or count energy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("name", nargs="?")
    parser.add_argument("--energy", default="", metavar="NAME", help="count energy of a shipped network, onto its card")
    parser.add_argument("--half", action="store_true", help="store convolutions and readout in float16")
    parser.add_argument("--data-dir", default="", help="folder of the run's data, for what is evaluated again")
    options = parser.parse_args()
    if bool(options.energy) == bool(options.name):
        parser.error("give RUN and NAME, or --energy NAME")
    try:
        if options.energy:
            for path in measure(options.energy, data_dir=options.data_dir):
                print(path)
            print(readme_row(shipped()[options.energy]))
            return
        for path in publish(options.run, options.name, half=options.half, data_dir=options.data_dir):
            print(path)
    except UserError as error:
        raise SystemExit(f"publish: {error}") from None


if __name__ == "__main__":
    main()
