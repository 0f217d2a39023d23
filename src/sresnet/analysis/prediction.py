"""A network's answer to one input after every time step."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sresnet.analysis.exits import mean_scores
from sresnet.data import AnyData, EventConfig
from sresnet.data.config import as_trained
from sresnet.data.events.chips import Sensor, another_sensor, sensor_from_plain
from sresnet.data.events.filters import left_by, removed_said
from sresnet.data.events.frames import clips_of, frame_shape, input_scale
from sresnet.data.events.lengths import lengths_from_plain, lengths_of, other_lengths
from sresnet.data.events.source import recording_in
from sresnet.data.events.windows import cut
from sresnet.data.folder import read_picture, with_channels
from sresnet.data.scaling import Counts, Scaling
from sresnet.errors import UserError
from sresnet.limits import MEMORY_LIMIT, check_claim
from sresnet.models.inference import check_scores
from sresnet.models.network import SpikingNetwork
from sresnet.models.trained import bits_of
from sresnet.randomness import seeded

Note = Callable[[str], object]
"""Receives a line for the user."""


def _quiet(line: str) -> None:
    """A `Note` that is dropped."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One picture or event recording, and the class probabilities so far after each step."""

    title: str
    picture: Tensor
    """What was classified: uint8 [C, H, W], or event frames [T, 2, H, W] of any type."""
    class_names: tuple[str, ...]
    by_step: tuple[tuple[float, ...], ...]
    """Class probabilities [T][classes]: softmax of the mean score so far, not calibrated."""

    def best(self, count: int) -> list[tuple[str, int]]:
        """Name and index of the most likely classes after the last step, best first."""
        last = torch.tensor(self.by_step[-1])
        return [(self.class_names[index], index) for index in last.topk(min(count, len(last))).indices.tolist()]


def _probabilities_by_step(model: SpikingNetwork, x: Tensor) -> Tensor:
    """Class probabilities after every step, float32 [T, classes]: softmax of the mean score so far.

    x is one image [1, C, H, W], or the windows of one recording [windows, T, C, H, W], for which it is the mean.
    UserError for scores that are not finite.
    """
    device = next(model.parameters()).device
    with torch.inference_mode(), seeded(0, device):
        scores = [mean_scores(model.forward_steps(one[None]))[:, 0] for one in x]
        check_scores(torch.stack(scores, 1))
        return torch.stack([each.softmax(1) for each in scores]).mean(0)


def predict_file(
    model: SpikingNetwork,
    path: Path,
    data: AnyData,
    scaling: Scaling,
    about: Mapping[str, Any],
    *,
    memory_limit: float = MEMORY_LIMIT,
    note: Note = _quiet,
) -> Prediction:
    """Classify a picture or, where the network was trained on event recordings, a recording.

    Args:
        model: in evaluation mode, on the CPU.
        data, scaling, about: the training data, how they were scaled, and data.json of the run.
        note: receives a warning about a picture whose transparency is dropped, and what filters leave out.

    Raises:
        UserError: the file cannot be read or does not fit the network, or scores that are not finite.
    """
    data = as_trained(data, about)
    if isinstance(data, EventConfig):
        check_frames_known(data)
        x = _clips_of_file(path, data, model.config.num_steps, about, memory_limit, note)
        shown = x.sum(0)
    else:
        shown = _image_of_file(path, model.config.in_channels, about, memory_limit, note)
        x = scaling(shown[None])
    by_step = tuple(tuple(step) for step in _probabilities_by_step(model, x).tolist())
    return Prediction(title=path.name, picture=shown, class_names=tuple(about["class_names"]), by_step=by_step)


def check_frames_known(data: EventConfig) -> None:
    """Raise UserError where a run does not say how events became the frames that it was trained on."""
    if data.name == "dataset":
        raise UserError(
            "this run was trained on clips of a data set that was given in Python, and does not say how these were "
            "made of events: make them alike and call the network, sresnet.load(RUN), on them"
        )


def _image_of_file(
    path: Path, channels: int, about: Mapping[str, Any], memory_limit: float, note: Note = _quiet
) -> Tensor:
    """A picture as a run needs it, uint8 [C, H, W]; errors as `read_picture` and `with_channels`."""
    found = read_picture(path, tuple(about["image_size"]), bits=bits_of(about), memory_limit=memory_limit)
    image = found.pixels
    if found.plain:
        note(f"note: {path} is of one colour but for transparency, which is dropped: put it onto a background")
    return with_channels(image, channels)


def _clips_of_file(
    path: Path, data: EventConfig, num_steps: int, about: Mapping[str, Any], memory_limit: float, note: Note = _quiet
) -> Tensor:
    """A recording as a run needs it, float32 [windows, T, 2, H, W]; UserError where it is damaged or does not fit."""
    recording = recording_in(path, data.reading(memory_limit))
    found = Sensor(recording.sensor, recording.width, recording.height)
    if said := another_sensor(sensor_from_plain(about.get("sensor")), found, str(path)):
        note(said)
    kept, removed = left_by(recording, data.filters, str(path), memory_limit=memory_limit)
    if removed:
        note(f"{path}: {removed_said(removed, len(recording))}")
    windows = cut(kept, data.windows, whole=recording).windows
    trained, lasting = lengths_from_plain(about.get("clip_seconds")), lengths_of(each.span for each in windows)
    if not data.windows.cut and (said := other_lengths(trained, lasting, f"{path} lasts")):
        note(f"{said}; --stream auto walks through a long recording")
    if not windows:
        raise UserError(
            f"{path} has {len(kept):,} events, and the run was trained on {data.windows.least_events:,} or more "
            "in each window: give a longer recording"
        )
    rows, columns = frame_shape(recording, data.frames)
    what = f"{len(windows):,} x {num_steps} frames of {columns}x{rows} pixels"
    # As float32, and one of them as it was counted too.
    claimed = 6 * len(windows) * num_steps * 2 * rows * columns
    check_claim(str(path), what, claimed, 8 * len(recording), memory_limit)
    if [rows, columns] != list(about["image_size"]):
        raise UserError(
            f"{path} gives frames of {[rows, columns]} pixels, the run was trained on {about['image_size']}: give a "
            "recording of the same camera"
        )
    clips = torch.empty(len(windows), num_steps, 2, rows, columns, dtype=torch.float32, device="cpu")
    made = clips_of(kept, windows, data.frames, num_steps, memory_limit=memory_limit)
    for clip, (frames, _) in zip(clips, made, strict=True):
        clip.copy_(torch.from_numpy(frames).float())
    return Counts(input_scale(recording.width, recording.height, data.frames), data.frames.shown)(clips)
