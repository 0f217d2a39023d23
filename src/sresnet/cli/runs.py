"""What several verbs do with a run folder, or with a network that comes with the package."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import torch

from sresnet.cli.terminal import filling
from sresnet.data import AnyData, EventConfig, Samples, Splits, open_data
from sresnet.data.cached import cache_folder
from sresnet.data.cleaning import is_cache
from sresnet.data.config import as_trained
from sresnet.data.events.chips import another_sensor, sensor_from_plain
from sresnet.data.events.clips import FrameSet
from sresnet.data.events.filters import removed_said
from sresnet.data.events.frames import LOST, SATURATED
from sresnet.data.events.lengths import lengths_from_plain, other_lengths
from sresnet.data.fingerprint import difference, fingerprint
from sresnet.data.scaling import Counts, Scaling, scaling_from_plain
from sresnet.errors import UserError
from sresnet.limits import MEMORY_LIMIT, check_claim
from sresnet.models import SpikingNetwork
from sresnet.models.network import NetworkConfig
from sresnet.models.pretrained import about_of, card_of, is_shipped, load_shipped
from sresnet.models.saved import load
from sresnet.models.trained import bits_of
from sresnet.ops.dispatch import Implementation, implementation_of_environment
from sresnet.ops.scan.choice import check_triton
from sresnet.printing import say
from sresnet.train import record
from sresnet.train.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """What applies to every command that reads files."""

    memory_limit: float = MEMORY_LIMIT
    """Gigabytes that a file may claim, whatever its length; one that claims more is refused. Raise it for files that
    you trust."""


@dataclass(frozen=True, kw_only=True)
class RuntimeOptions(ReadOptions):
    """Runtime options: where data are, and on which device and how it is computed. Rounding apart, no number depends on
    them."""

    data_dir: str = ""
    """Folder of the data set, or a CSV file that lists pictures or recordings (or TOML, of recordings)."""
    device: str = "auto"
    """cpu, cuda, cuda:1, ...; auto takes a GPU if there is one."""
    download: bool = False
    """Fetch CIFAR from its publisher into the data folder."""
    engine: Implementation = field(default_factory=implementation_of_environment)
    """How layers are computed; numbers change by rounding only. low-memory keeps nothing but bits of the spikes for the
    backward pass and convolves again; reference is the plain PyTorch that the others are tested against; triton is the
    kernels for GPUs or an error, where fastest would take the reference. By default $SRESNET_ENGINE, or fastest."""
    cache_dir: str = ""
    """Where frames of event recordings and decoded pictures are kept; by default ~/.cache/sresnet/frames and
    ~/.cache/sresnet/pictures, the latter for 1,000 pictures or more."""

    def torch_device(self) -> torch.device:
        """The device meant.

        Raises:
            UserError: no such device, or none that the engine runs on.
        """
        try:
            auto = "cuda" if torch.cuda.is_available() else "cpu"
            device = torch.device(auto if self.device == "auto" else self.device)
            torch.zeros(1, device=device).item()  # meta has no numbers
        except (RuntimeError, AssertionError, ImportError, ValueError, TypeError):
            raise UserError(f"device {self.device!r} is not available here: try --device cpu") from None
        if self.engine == "triton":
            check_triton(device, gpu=device.type == "cuda")
        return device

    def open(self, data: AnyData, seed: int, num_steps: int, bits: int = 0) -> Splits:
        """The data set, with a bar while frames are made or pictures decoded; `bits` and errors as `open_data`."""
        with filling("recordings" if isinstance(data, EventConfig) else "pictures") as watch:
            where: Any = {"download": self.download, "cache_dir": self.cache_dir, "memory_limit": self.memory_limit}
            shown: Any = {"watch": watch, "note": partial(say, flush=True), "bits": bits}
            return open_data(data, self.data_dir, seed=seed, num_steps=num_steps, **shown, **where)

    def placed_as(self, data: AnyData, run: str) -> Self:
        """The options with the folders of data and of frames that `run` notes, where they name none themselves.

        Raises:
            UserError: the data are to be fetched into a folder that only the run names.
        """
        environment = {} if is_shipped(run) else record.read_environment(Path(run))
        noted = environment.get("cache_dir", "")
        if noted and not self.cache_dir and _is_kept(data) and not is_cache(Path(noted)):
            # A run may come from another user; what it names is written to only if data were kept there before.
            kind: Literal["frames", "pictures"] = "frames" if isinstance(data, EventConfig) else "pictures"
            say(f"note: {noted} of {run} holds no {kind}; they are kept in {cache_folder(kind)}", error=True)
            noted = ""
        if self.download and not self.data_dir and environment.get("data_dir"):
            raise UserError("--download needs --data-dir DIR, the folder to fetch the data into")
        data_dir = self.data_dir or environment.get("data_dir", "")
        return replace(self, data_dir=data_dir, cache_dir=self.cache_dir or noted)

    def open_again(self, recipe: Recipe, run: str, num_steps: int | None = None) -> Splits:
        """The data set of a run, found and cached, by default, where `sresnet train` did.

        Classes are numbered as the run's. "other_data" in `about` is how the data differ from those of the run, where
        they do and the run says what its own were. With `num_steps`, clips of events have so many frames, and are no
        longer compared.

        Raises:
            UserError: as `open_data`, a class that the run does not have, recordings of a sensor of another size than
                its own, or images of another size.
        """
        found, about = self.placed_as(recipe.data, run), about_run(run)
        steps = recipe.model.num_steps if num_steps is None else num_steps
        data = as_trained(recipe.data, about)
        splits = found.open(data, recipe.seed, steps, bits_of(about)).matched(about["class_names"])
        sensor, theirs = sensor_from_plain(about.get("sensor")), sensor_from_plain(splits.about.get("sensor"))
        if said := another_sensor(sensor, theirs, found.data_dir):
            splits = replace(splits, notes=(*splits.notes, said.removeprefix("note: ")))
        before, now = (lengths_from_plain(each.get("clip_seconds")) for each in (about, splits.about))
        if said := other_lengths(before, now, f"clips of {found.data_dir or recipe.data.name} last"):
            splits = replace(splits, notes=(*splits.notes, said.removeprefix("note: ")))
        height, width = splits.train.shape[-2:]
        if [height, width] != list(about["image_size"]):
            size = "x".join(map(str, about["image_size"]))
            raise UserError(f"the data are of {height}x{width} pixels, and {run} was trained on {size}: give such data")
        differing = None if num_steps is not None else difference(about, fingerprint(splits))
        return replace(splits, about=splits.about | {"other_data": differing}) if differing else splits


def _is_kept(data: AnyData) -> bool:
    """Whether a cache folder may have the data: clips, or pictures of a folder."""
    return isinstance(data, EventConfig) or data.name == "folder"


def other_data(splits: Splits) -> dict[str, Any]:
    """What a file about a run must say where it was evaluated or analysed on other data than its own."""
    return {name: value for name, value in splits.about.items() if name == "other_data"}


def trained(
    folder: str, device: torch.device, memory_limit: float, samples: Samples | None = None
) -> tuple[SpikingNetwork, Scaling, dict[str, Any]]:
    """Network of a run or of the package, scaling of its input, and what its data.json or card says.

    Counts of event frames are scaled as their sensor asks, which `samples` know; the training data may be from another.
    """
    about = about_run(folder)
    model = load_shipped(folder) if is_shipped(folder) else load(folder, memory_limit=memory_limit)
    record.check_about(about, model.config, folder)
    check_image(about["image_size"], model.config, folder, memory_limit)
    scaling = scaling_from_plain(about)
    if isinstance(samples, FrameSet) and isinstance(scaling, Counts):
        scaling = replace(scaling, scale=samples.scale)
    return model.to(device), scaling, about


def check_image(size: Sequence[int], config: NetworkConfig, where: str, memory_limit: float) -> None:
    """Refuse a run whose images take more memory than it may claim: the first layer's spikes of one step of one."""
    height, width = size
    claimed = 4 * height * width * getattr(config, "base_filters", 64)
    check_claim(f"{where}/{record.DATA}", f"images of {height}x{width} pixels", claimed, 0, memory_limit)


def about_run(run: str) -> dict[str, Any]:
    """What data.json of a run says, or the same of a network that comes with the package."""
    if not is_shipped(run):
        return record.read_about(Path(run))
    return about_of(card_of(run))


def part_of(splits: Splits, part: str) -> Samples:
    """The images or clips called `part`."""
    samples: Samples | None = getattr(splits, part) if part in ("train", "validation", "test") else None
    if samples is None:
        raise UserError(f"part {part!r} is not available: choose test or train, or validation where some is held out")
    return samples


def accuracy(part: str, about: Mapping[str, Any]) -> str:
    """What an accuracy is of, in front of its number."""
    return f"{part} accuracy{' on simulated recordings' if about.get('simulated') else ''}"


def steps_said(num_steps: int | None, made_for: int) -> str:
    """How many time steps ran, all that a network was made for where None says so."""
    if num_steps is not None and num_steps > made_for:
        return f"{num_steps} time steps, made for {made_for}"
    return f"{num_steps or made_for} of {made_for} time steps"


def print_split(data: AnyData, splits: Splits) -> None:
    """What a result must say beside its number."""
    about = splits.about
    if isinstance(data, EventConfig):
        _print_recordings(data, splits)
    elif "parts" in about:
        counts = {"train": len(splits.train), "validation": len(splits.validation or ()), "test": len(splits.test)}
        origins = about["parts"]
        said = (f"{counts[part]:,} {part} ({origins[part]})" for part in counts if part in origins)
        say(f"pictures: {', '.join(said)}")
    if "other_data" in about:
        say(f"note: these are not the data of the run ({about['other_data']})")
    say(*(f"note: {note}" for note in splits.notes))


def _print_recordings(data: EventConfig, splits: Splits) -> None:
    """The split of event recordings, and what it leaves out."""
    about = splits.about
    simulated = ", SIMULATED recordings" if about["simulated"] else ""
    group = f" (tested on {about['test_group']})" if "test_group" in about else ""
    recordings = ", ".join(f"{count:,} {part}" for part, count in about["recordings"].items() if count)
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    clips = ", ".join(f"{len(samples):,} {part}" for part, samples in parts.items() if samples is not None)
    say(f"{data.name}{simulated}, split {about['name']}{group}: recordings {recordings}; clips {clips}")
    if about["classes_left_out"]:
        names = ", ".join(about["classes_left_out"])
        count = sum(about["classes_left_out"].values())
        say(f"note: {count} test recordings of classes that are not trained on are left out: {names}")
    if about["skipped_recordings"]:
        say(f"note: {about['skipped_recordings']} recordings that could not be read are left out")
    if "filtered_events" in about:
        say(removed_said(about["filtered_events"], about["events_read"]))
    if unused := about.get("unused"):
        shares = 100 * unused["events"] / max(1, unused["of"]), 100 * unused["most"]
        where = f", at most {shares[1]:.1f} % of a recording ({unused['recording']})" if unused["events"] else ""
        say(f"windows: {shares[0]:.1f} % of all events, {unused['events']:,}, lie in none{where}")
        if unused["windows"]:
            say(
                f"note: {unused['windows']:,} windows with fewer events than {data.windows.least_events:,} are left out"
            )
    say(*_frames_said(about))


def _frames_said(about: Mapping[str, Any]) -> list[str]:
    """What counts of a set of event frames took or lost, in lines; none where all fit into a byte."""
    if largest := about.get("largest_count"):
        return [f"counts: up to {largest:,} events at a pixel and step, all of them kept"]
    lost, events = about["saturated_events"], about["events"]
    if not lost:
        return []
    share = (
        f"{lost:,} of {events:,} events ({100 * lost / events:.2g} %) are lost, beyond {SATURATED} at a pixel and step"
    )
    if lost < LOST * events:
        return [f"note: {share}"]
    return [f"warning: {share}: train anew with --data.frames.counts exact, more steps, or shorter windows"]
