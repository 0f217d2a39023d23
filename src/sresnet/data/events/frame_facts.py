"""Facts about the frames that recordings would give, before any are made."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from sresnet.data.events.frames import SATURATED, FrameConfig, clips_of, width_of
from sresnet.data.events.source import Read, Source
from sresnet.data.events.windows import WindowConfig, cut
from sresnet.errors import UserError


@dataclass(frozen=True, kw_only=True)
class FrameFacts:
    """Clips of many recordings, and what their counts take."""

    num_steps: int
    height: int
    width: int
    clips: int
    events: int
    """In all clips; with windows that overlap, some more than once."""
    largest: int
    """The largest count at a pixel and step."""
    beyond: int
    """Events beyond 255 at a pixel and step, which are lost where counts saturate."""

    @property
    def bytes_each(self) -> int:
        """That a count takes where all are kept."""
        return np.dtype(width_of(self.largest)).itemsize


def describe_frames(
    sources: Iterable[Source],
    read: Read,
    config: FrameConfig,
    windows: WindowConfig,
    num_steps: int,
    *,
    memory_limit: float,
) -> FrameFacts | None:
    """Facts of the clips of recordings; None without any.

    Those that cannot be read are left out. UserError as `to_frames`, naming the recording.
    """
    counted = replace(config, counts="exact", representation="counts", surface_ms=FrameConfig.surface_ms)
    shape, clips, events, largest, beyond = (0, 0), 0, 0, 0, 0
    for source in sources:
        try:
            recording, _ = read(source)
        except UserError:
            continue
        found = cut(recording, windows).windows
        try:
            for frames, _ in clips_of(recording, found, counted, num_steps, memory_limit=memory_limit):
                shape, clips, most = (frames.shape[2], frames.shape[3]), clips + 1, int(frames.max())
                one = frames[:1] if config.by == "whole" else frames
                events += int(one.sum(dtype=np.int64))
                largest = max(largest, most)
                if most > SATURATED:
                    beyond += int((one.astype(np.int64) - SATURATED).clip(0).sum())
        except UserError as error:
            raise UserError(f"{source.name}: {error}") from None
    if not clips:
        return None
    height, width = shape
    return FrameFacts(
        num_steps=num_steps,
        height=height,
        width=width,
        clips=clips,
        events=events,
        largest=largest,
        beyond=beyond,
    )
