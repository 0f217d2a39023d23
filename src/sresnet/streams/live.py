"""A trained network on a stream of events: frames step by step as they come, and after each step a class.

A network has T time steps, and where its norms count them ("bntt") no step T + 1 is defined. So a stream is cut into
windows of T steps, each of which begins at rest as a clip does in training; and the numbers are those of these clips.
Networks whose norms are the same at every step may instead carry their potentials on without end.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sresnet.analysis.exits import mean_scores
from sresnet.analysis.prediction import check_frames_known
from sresnet.data.config import as_trained
from sresnet.data.events.chips import Sensor, another_sensor
from sresnet.data.events.filters import FilterConfig, SliceFilters, check_sensor, hot_pixels_of, picked
from sresnet.data.events.frames import FrameConfig, frame_shape, input_scale, to_frames
from sresnet.data.events.lengths import Lengths
from sresnet.data.events.parts import in_time, joined
from sresnet.data.events.recording import Recording
from sresnet.data.events.sets import EventConfig
from sresnet.data.events.slices import Slice, as_recording, is_one
from sresnet.data.events.windows import WindowConfig
from sresnet.data.scaling import Counts, Pixels
from sresnet.errors import UserError
from sresnet.limits import MEMORY_LIMIT
from sresnet.models import SpikingNetwork, StreamState
from sresnet.models.inference import check_scores
from sresnet.models.pretrained import is_shipped, load_shipped
from sresnet.models.saved import load
from sresnet.nn import BNTT
from sresnet.train.record import check_about, read_about, recipe_of

_LONGEST = 1_000_000
"""Seconds of a window."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a network makes of the latest events."""

    start: int
    """Microseconds on the clock of the events, where the window begins."""
    end: int
    """Where its last step so far ends, excluded."""
    step: int
    """Time steps so far."""
    whole: bool
    """All steps of the network are in it."""
    events: int
    """Events in it."""
    class_name: str
    """The likeliest class."""
    confidence: float
    """Its probability, not calibrated."""
    probabilities: tuple[float, ...]
    """Of every class: softmax of the mean score so far."""


def stream(
    network: SpikingNetwork | str | Path,
    slices: Iterable[Slice] | Slice,
    *,
    step: float | None = None,
    stride: float | None = None,
    frames: FrameConfig | None = None,
    size: tuple[int, int] | None = None,
    hot_pixels: NDArray[np.bool_] | None = None,
    carry: bool = False,
    memory_limit: float = MEMORY_LIMIT,
) -> Iterator[Answer]:
    """Answers over time, as slices of events come; see `Stream`, whose arguments and errors these are.

    An answer is given as soon as an event shows that its last step is over, and at the end of `slices` those of the
    steps that are over by the last event. One slice may stand in place of several.
    """
    options: Any = {"step": step, "stride": stride, "frames": frames, "size": size, "hot_pixels": hot_pixels}
    running = Stream(network, carry=carry, memory_limit=memory_limit, **options)
    if not isinstance(slices, Iterable) and not is_one(slices):
        raise UserError(f"slices are of type {type(slices).__name__}: give a list of slices, or what yields them")
    return _answers(running, slices)


def _answers(running: "Stream", slices: Any) -> Iterator[Answer]:
    """What a stream says of these slices, or of the one that was given in place of several, to the end."""
    for each in [slices] if is_one(slices) else slices:
        yield from running.push(each)
    yield from running.finish()


@dataclass(kw_only=True)
class _Window:
    """Steps that began at rest."""

    start: int
    """Microseconds."""
    step: int = 0
    """Steps that are over."""
    silent: int = 0
    """Of these the last ones, which the network has not been given: no event has come yet."""
    events: int = 0
    state: StreamState = field(default_factory=StreamState)
    scores: Tensor | None = None
    """After every step, [T, 1, classes], where all steps were over when the first was looked at."""


class Stream:
    """A network that is given events as they come.

    Window i begins at t0 + i * stride, where t0 is the first event, and lasts T steps. Filters, the origin of windows
    and the fewest events of one are those of the run. Step k of a window of length D
    holds the events with k * D <= (t - start) * T < (k + 1) * D in microseconds, as `to_frames` has it. After each step
    there is an answer, that of the window which has run longest; with windows one behind the other it is of 1, 2, ...,
    T steps, and with a stride of one step, after the first window, always of T. There is none before the first event of
    a window, and a window without events has none.

    Frames that take a whole window to know, those by count, of all events at every step, or changes from frame to frame
    (encoder "delta"), have one answer at the end of each window.

    With `carry`, potentials are never reset. The answer after each step is of the last T steps: the mean of what the
    readout received. After T steps without an event the network begins at rest.

    Args:
        network: a run folder, which says what frames and windows are; or a network in evaluation mode, with `frames`.
        step: seconds of a time step; None: the usual one of training, 1 / T of a clip.
        stride: seconds from the start of a window to that of the next; None: the length of a window, or what it was in
            training.
        frames: how events become frames, where the network does not come from a run folder.
        size: (width, height) of the sensor, which arrays do not say; None: that of the frames, if these are not scaled.
        hot_pixels: pixels of the sensor whose events are left out, bool [height, width].
        carry: potentials go on from step to step without end.
        memory_limit: as everywhere.

    Raises:
        UserError: no length of a step is known; frames that were not trained on; or norms that count time steps, and
            `carry`.
    """

    def __init__(
        self,
        network: SpikingNetwork | str | Path,
        *,
        step: float | None = None,
        stride: float | None = None,
        frames: FrameConfig | None = None,
        size: tuple[int, int] | None = None,
        hot_pixels: NDArray[np.bool_] | None = None,
        carry: bool = False,
        memory_limit: float = MEMORY_LIMIT,
    ) -> None:
        if not isinstance(network, SpikingNetwork | str | Path):
            raise UserError(
                f"a network of type {type(network).__name__} runs on no stream: give one of sresnet itself, or the "
                "folder of a run"
            )
        if frames is not None and not isinstance(frames, FrameConfig):
            raise UserError(
                f"frames are of type {type(frames).__name__}: give FrameConfig(...), of sresnet.data.events.frames"
            )
        _check_size(size)
        if isinstance(network, SpikingNetwork):
            if frames is None:
                raise UserError(
                    "a network alone does not say how events become frames: give frames=FrameConfig(...) as in "
                    "training, or the folder of its run in place of the network"
                )
            self.model, windows, filters = network, WindowConfig(), FilterConfig()
        else:
            if frames is not None:
                raise UserError(f"{network} says itself how events become frames: leave frames out")
            self.model, data = _of_run(str(network), memory_limit)
            frames, windows, filters = data.frames, data.windows, data.filters
        about = self.model.trained
        lasting = about.lengths if about is not None else None
        if windows.seconds:
            lasting = Lengths(shortest=windows.seconds, usual=windows.seconds, longest=windows.seconds)
        self.trained_steps: Lengths | None = lasting and lasting.divided(self.model.config.num_steps)
        """How long time steps were in training; None: not known."""
        self.frames, self.size, self.carry, self.memory_limit = frames, size, carry, memory_limit
        self.num_steps: int = self.model.config.num_steps
        """T."""
        self.length = _length(step, lasting, self.num_steps)
        """Of a window in microseconds."""
        usual = max(1, round(self.length * windows.stride))
        self.stride = usual if stride is None else _microseconds("stride", stride)
        """Microseconds from one window to the next."""
        self.class_names: tuple[str, ...] = _class_names(self.model)
        known = frames.by == "time" and not frames.real
        self.stepwise: bool = known and self.model.config.encoder == "direct"
        """Whether a step's frame is known when the step is over."""
        _check_network(self.model)
        if carry:
            _check_carried(self.model, stride, self.stepwise)
        self._windows_config, self._filters_config, self.hot_pixels = windows, filters, hot_pixels
        self.restart()

    def restart(self) -> None:
        """Begin another stream, as of another recording."""
        self.origin: int | None = None
        """Time of the first event; None: there was none yet."""
        self._over = False
        self._answered: int | None = None  # end of the last answer
        self._behind = 0  # events behind it
        self._known = 0  # all events before this microsecond are there
        self._pending: list[Recording] = []
        self._sensor: Recording | None = None  # the first slice, without events
        self._scaling = Counts()
        self._origin = 0  # of the first window
        self._filters = SliceFilters(self._filters_config, None)
        self._number = 0  # of the next window, or with `carry` of the next step
        self._open: deque[_Window] = deque()
        self._received: deque[tuple[int, Tensor | None]] = deque(maxlen=self.num_steps)  # events, what the readout got
        self._state = StreamState()

    @property
    def needs_all(self) -> bool:
        """Whether a whole recording tells what its first events need: which pixels are hot."""
        return bool(self._filters_config.hot_pixels)

    def begin(self, recording: Iterable[Recording]) -> None:
        """Begin another stream, that of a recording in parts, whose hot pixels training would leave out too."""
        self.restart()
        if self.needs_all:
            self.hot_pixels = hot_pixels_of(map(self._checked_sensor, recording), self._filters_config.hot_pixels)

    def _checked_sensor(self, part: Recording) -> Recording:
        """The part itself; UserError where its sensor claims too many pixels for the filters."""
        check_sensor(part, self._filters_config, f"a recording of {part.sensor}", self.memory_limit)
        return part

    def push(self, events: Slice, *, until: int | None = None) -> list[Answer]:
        """Give the next events, none or any number of them; the answers of steps that are over by now.

        Args:
            events: in order of time, none before the last one of earlier calls.
            until: all events before this microsecond have been given, so time goes on where none come.

        Raises:
            UserError: events out of order, beyond the sensor, of another sensor than before or of another type; or
                frames that do not fit the network.
        """
        if self._over:
            raise UserError("this stream is at its end: call restart() before the events of another")
        part = as_recording(events, self._size())
        self._check(part)
        if len(part):
            if self.origin is None:
                self._begin(part)
            self._known = int(part.t[-1])
            self._pending.append(self._filters.left(part))
            self._behind += len(self._pending[-1])
        if until is not None and (isinstance(until, bool) or not isinstance(until, int | np.integer)):
            raise UserError(f"until {until!r} is no time: give whole microseconds")
        if until is not None and abs(int(until)) >= 1 << 62:
            raise UserError(f"until {until} is beyond 62 bits: give microseconds")
        if until is not None and self.origin is not None:
            if until < self._known:
                raise UserError(f"until {until} lies before events that have come, at {self._known}: time only goes on")
            self._known = int(until)
        return self._advance() if self.origin is not None and self._known >= self._due() else []

    def finish(self) -> list[Answer]:
        """The answers of steps that are over with the last event; the stream is at its end."""
        self._over = True
        if self.origin is None:
            return []
        self._known += 1
        return self._advance()

    @property
    def end(self) -> int:
        """Microsecond up to which events are known, excluded."""
        return self._known

    @property
    def rest(self) -> int:
        """Events so far, of those that filters leave, behind the end of the last answer."""
        return self._behind

    @property
    def shortest(self) -> int:
        """Microseconds that an answer takes at least: a step, or a window where no step is known before."""
        return -(-self.length // self.num_steps) if self.stepwise else self.length

    @property
    def least_events(self) -> int:
        """Windows with fewer have no answer, nor has one with none."""
        return self._windows_config.least_events

    @property
    def filtering(self) -> bool:
        """Whether filters leave events out."""
        return self._filters_config.active

    def _size(self) -> tuple[int, int] | None:
        """Width and height of the sensor, as far as known."""
        if self._sensor is not None:
            return self._sensor.width, self._sensor.height
        about = self.model.trained
        if self.size is None and about is not None and not self.frames.size and self.frames.orientation == "sensor":
            height, width = about.image_size
            return width, height
        return self.size

    def _check(self, part: Recording) -> None:
        """Raise UserError for events that cannot follow those before."""
        size = self._size()
        if size is not None and (part.width, part.height) != size:
            raise UserError(
                f"events are of a sensor of {part.width}x{part.height} pixels, and those before or `size` of "
                f"{size[0]}x{size[1]}: give one stream for each camera"
            )
        if not len(part):
            return
        steps = np.diff(part.t)
        if len(steps) and int(steps.min()) < 0:
            at = int(np.flatnonzero(steps < 0)[0]) + 1
            raise UserError(
                f"event {at} of a slice is at {part.t[at]} us, and the one before at {part.t[at - 1]}: give events in "
                "order of time"
            )
        if self.origin is not None and int(part.t[0]) < self._known:
            raise UserError(
                f"a slice begins at {part.t[0]} us, and time has come to {self._known}: give events in order of time"
            )

    def _begin(self, part: Recording) -> None:
        """The first events have come."""
        nothing = slice(0, 0)
        empty = replace(part, t=part.t[nothing], x=part.x[nothing], y=part.y[nothing], on=part.on[nothing])
        rows, columns = frame_shape(empty, self.frames)
        about = self.model.trained
        if about is not None and (rows, columns) != tuple(about.image_size):
            height, width = about.image_size
            raise UserError(
                f"these events give frames of {columns}x{rows} pixels, and the network was trained on "
                f"{width}x{height}: give those of such a camera"
            )
        if about is not None:
            another_sensor(about.sensor, Sensor(part.sensor, part.width, part.height), "this stream")
        self._scaling = Counts(input_scale(part.width, part.height, self.frames), self.frames.shown)
        self._checked_sensor(part)
        self._sensor, self.origin = empty, int(part.t[0])
        zero = self._windows_config.origin == "zero" and not self.carry
        self._origin = self.origin // self.stride * self.stride if zero else self.origin
        if self.hot_pixels is None and self.needs_all:
            raise UserError(
                "this network was trained without hot pixels, which a whole recording tells and its beginning does "
                "not: give hot_pixels, bool [height, width], as of an earlier recording of the camera"
            )
        if self.hot_pixels is not None and np.shape(self.hot_pixels) != (part.height, part.width):
            raise UserError(
                f"hot_pixels has shape {np.shape(self.hot_pixels)}, and the sensor {part.width}x{part.height} pixels: "
                f"give ({part.height}, {part.width})"
            )
        self._filters = SliceFilters(self._filters_config, self.hot_pixels)

    def _edge(self, start: int, step: int) -> int:
        """The first microsecond of a step of a window: its start + step * length / T, rounded up."""
        return start - (-step * self.length // self.num_steps)

    def _due(self) -> int:
        """When the next step is over, at the earliest."""
        assert self.origin is not None
        if self.carry:
            return self._edge(self._origin, self._number + 1)
        ends = [self._end_of_next(each) for each in self._open]
        return min([*ends, self._end_of_next(_Window(start=self._origin + self._number * self.stride))])

    def _end_of_next(self, window: _Window) -> int:
        """When the next step of a window is over; the whole of it, where no step is known before."""
        return self._edge(window.start, window.step + 1 if self.stepwise else self.num_steps)

    @torch.inference_mode()
    def _advance(self) -> list[Answer]:
        """The answers of all steps that end by `_known`."""
        assert self._sensor is not None
        events = joined(self._sensor, self._pending)
        answers = self._carry_on(events) if self.carry else self._windows(events)
        if answers:
            self._behind = len(events) - int(np.searchsorted(events.t, answers[-1].end))
        assert self.origin is not None
        # What is still needed: from the earliest step that is not over.
        if self.carry:
            since = self._edge(self._origin, self._number)
        else:
            begun = [self._edge(each.start, each.step) for each in self._open]
            since = min([*begun, self._origin + self._number * self.stride])
        rest = in_time(events, since, self._known + 1)
        self._pending = [picked(rest, np.arange(len(rest)))]
        return answers

    def _windows(self, events: Recording) -> list[Answer]:
        """The answers of all steps of windows that end by `_known`."""
        answers: list[Answer] = []
        while True:
            self._open_next(events)
            if not self._open:
                return answers
            window = min(self._open, key=self._end_of_next)
            end = self._end_of_next(window)
            if end > self._known:
                return answers
            scores = self._scores_of_step(window, events, end)
            # Of several that end with this step, that of the oldest.
            enough = window.events >= self._windows_config.least_events
            if scores is not None and enough and window is self._open[0] and end != self._answered:
                answers.append(self._answer(window.start, end, window.step, window.events, scores))
                self._answered = end
            if window.step == self.num_steps:
                self._open.remove(window)

    def _open_next(self, events: Recording) -> None:
        """Begin the windows that begin before the next step ends, but for those without events."""
        assert self.origin is not None
        while True:
            start = self._origin + self._number * self.stride
            if self._open and start >= min(map(self._end_of_next, self._open)):
                return
            # The first event from there on, or as far as is known; windows that end before it are empty.
            place = int(np.searchsorted(events.t, start))
            next_event = int(events.t[place]) if place < len(events) else self._known
            empty = (next_event - self.length - self._origin) // self.stride + 1
            if empty > self._number:
                self._number = empty
                continue
            if start > self._known:
                return
            self._open.append(_Window(start=start))
            self._number += 1

    def _scores_of_step(self, window: _Window, events: Recording, end: int) -> Tensor | None:
        """Take a window to the end of its next step; scores [1, classes], None where it has no events yet."""
        part = in_time(events, self._edge(window.start, window.step), end)
        window.events += len(part)
        if not self.stepwise:
            window.step = self.num_steps
            return self.model(self._clip(part, (window.start, end))) if len(part) else None
        window.step += 1
        if not window.events:
            window.silent += 1
            return None
        last = self._edge(window.start, self.num_steps)
        if not window.state.steps and last <= self._known and self.model.readout.leak == 1 and window.scores is None:
            whole = in_time(events, window.start, last)
            window.scores = mean_scores(self.model.forward_steps(self._clip(whole, (window.start, last))))
        if window.scores is not None:
            return window.scores[window.step - 1]
        x = self._frame(part)
        if window.silent:
            _, window.state = self.model(x.new_zeros(1, window.silent, *x.shape[2:]), state=window.state)
            window.silent = 0
        scores, window.state = self.model(x, state=window.state)
        return scores

    def _carry_on(self, events: Recording) -> list[Answer]:
        """The answers of all steps that end by `_known`, with potentials from step to step."""
        assert self.origin is not None
        answers = []
        leak = self.model.readout.leak
        while (end := self._edge(self._origin, self._number + 1)) <= self._known:
            start = self._edge(self._origin, self._number)
            part = in_time(events, start, end)
            if not len(part) and not any(count for count, _ in self._received):
                self._received.clear()
                self._state = StreamState()
                place = int(np.searchsorted(events.t, start))
                until = int(events.t[place]) if place < len(events) else self._known
                self._number = max(self._number + 1, (until - self._origin) * self.num_steps // self.length)
                continue
            # Without the readout's past, what it gives is of this step alone.
            _, self._state = self.model(self._frame(part), state=self._state._replace(potential=None))
            assert self._state.potential is not None
            self._received.append((len(part), self._state.potential))
            self._number += 1
            potentials = [potential for _, potential in self._received if potential is not None]
            ages = range(len(potentials) - 1, -1, -1)
            potential = torch.stack([leak**age * each for age, each in zip(ages, potentials, strict=True)]).sum(0)
            count, steps = sum(count for count, _ in self._received), len(potentials)
            begin = self._edge(self._origin, self._number - steps)
            if count:
                answers.append(self._answer(begin, end, steps, count, potential / steps))
                self._answered = end
        return answers

    def _frame(self, part: Recording) -> Tensor:
        """The frame of the events of one step, [1, 1, 2, H, W]."""
        assert self._sensor is not None
        if not len(part):
            shape = (1, 1, 2, *frame_shape(self._sensor, self.frames))
            return next(self.model.parameters()).new_zeros(shape)
        return self._input(part, 1, (int(part.t[0]), int(part.t[-1]) + 1))

    def _clip(self, part: Recording, span: tuple[int, int]) -> Tensor:
        """The frames of the events of one window, [1, T, 2, H, W]."""
        return self._input(part, self.num_steps, span)

    def _input(self, part: Recording, num_steps: int, span: tuple[int, int]) -> Tensor:
        """Events as the network takes them, [1, num_steps, 2, H, W]."""
        found, _ = to_frames(part, self.frames, num_steps, span=span, memory_limit=self.memory_limit)
        weight = next(self.model.parameters())
        return self._scaling(torch.from_numpy(found)[None].to(weight.device)).to(weight.dtype)

    def _answer(self, start: int, end: int, step: int, events: int, scores: Tensor) -> Answer:
        """An answer of scores [1, classes]; UserError for scores that are not finite."""
        check_scores(scores)
        probabilities = scores[0].float().softmax(0).tolist()
        best = max(range(len(probabilities)), key=probabilities.__getitem__)
        return Answer(
            start=start,
            end=end,
            step=step,
            whole=step == self.num_steps,
            events=events,
            class_name=self.class_names[best],
            confidence=probabilities[best],
            probabilities=tuple(probabilities),
        )


def _of_run(run: str, memory_limit: float) -> tuple[SpikingNetwork, EventConfig]:
    """The network and the data of a run; UserError where it was trained on pictures, or is none."""
    data = recipe_of(run, memory_limit=memory_limit).data
    if not isinstance(data, EventConfig):
        raise UserError(f"{run} was trained on pictures, not on recordings of events: a stream needs the latter")
    check_frames_known(data)
    if is_shipped(run):
        return load_shipped(run), data
    model = load(run, memory_limit=memory_limit)
    about = read_about(Path(run))
    check_about(about, model.config, run)
    data = as_trained(data, about)
    assert isinstance(data, EventConfig)
    return model, data


def _length(step: float | None, trained: Lengths | None, num_steps: int) -> int:
    """Microseconds of a window, where those of training lasted as long as `trained` says."""
    if step is not None:
        return num_steps * _microseconds("step", step)
    if trained is not None:
        return max(1, round(1e6 * trained.usual))
    raise UserError(
        "no length of a time step is known, as this network does not say how long clips of its training lasted: give "
        "one, such as step=0.05 or on the command line --stream 50ms, near those of training, which are the length of "
        "a clip divided by the time steps"
    )


def _microseconds(name: str, seconds: Any) -> int:
    """A length of time given in seconds; UserError for none, or less than a microsecond."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float | np.number) or not 1e-6 <= seconds <= _LONGEST:
        raise UserError(
            f"{name} {seconds!r} is not a length of time: give seconds, such as 0.05, a microsecond or more"
        )
    return round(1e6 * float(seconds))


def _check_size(size: Any) -> None:
    """Raise UserError for what is no width and height of a sensor."""
    pair = size is None or (isinstance(size, tuple | list) and len(size) == 2)
    if not pair or not all(isinstance(side, int | np.integer) and 0 < side <= 1 << 16 for side in size or ()):
        raise UserError(f"size {size!r} is no sensor: give its pixels, (width, height), such as (346, 260)")


def _class_names(model: SpikingNetwork) -> tuple[str, ...]:
    """Names of the classes of a network, numbers where it has none."""
    names = model.trained.class_names if model.trained is not None else ()
    return names or tuple(str(number) for number in range(model.config.num_classes))


def _check_network(model: SpikingNetwork) -> None:
    """Raise UserError for a network that takes no events, or is being trained."""
    config, about = model.config, model.trained
    if config.in_channels != 2 or (about is not None and isinstance(about.scaling, Pixels)):
        raise UserError(
            "this network takes pictures, and frames of events have 2 channels, OFF and ON: give one that was trained "
            "on recordings"
        )
    if config.encoder not in ("direct", "delta"):
        raise UserError(f"encoder {config.encoder!r} encodes pictures: frames of events need 'direct' or 'delta'")
    if model.training:
        raise UserError("this network is in training mode, in which events change its norms: call model.eval()")


def _check_carried(model: SpikingNetwork, stride: float | None, stepwise: bool) -> None:
    """Raise UserError where potentials cannot be carried from step to step without end."""
    if stride is not None:
        raise UserError("stride is from window to window, and with carry there are none: leave one of them out")
    if not stepwise:
        raise UserError("frames of this network are known at the end of a window only: leave carry out")
    if any(isinstance(module, BNTT) for module in model.modules()):
        raise UserError(
            f"norms of this network are of time step 1 to {model.config.num_steps}, and no later one is defined: leave "
            "carry out, which gives windows of so many steps, or train with norm 'per-step' or 'time-averaged'"
        )
