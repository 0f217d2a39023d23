"""Prophesee's `.raw` files in the encodings EVT 2.0, EVT 2.1 and EVT 3.0.

Source: the RAW file format and the encodings as Prophesee documents them for its Metavision SDK.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sresnet.data.events.chips import LARGEST_SIDE, Sensor, given_chip
from sresnet.data.events.columns import BLOCK, Block, EventFile, Events, ReadConfig
from sresnet.data.events.compiled import LEFT_OUT, Encoding, words_decoder
from sresnet.data.events.percent import Header, header_of
from sresnet.errors import UserError
from sresnet.files import Content

ENCODINGS = {"2.0": "EVT 2.0", "2.1": "EVT 2.1", "3.0": "EVT 3.0"}
"""Name of the format by the version that the header gives."""

# Types of words that are no events: their names in `skipped`. Vendors extend the formats by the last two.
_TRIGGER, _OTHER = 0xA, (0xE, 0xF)
# Of files that do not say their size.
_SENSORS = (
    Sensor("Prophesee VGA", 640, 480),
    Sensor("Prophesee HD", 1280, 720),
    Sensor("Prophesee", 2048, 2048),
)


def encoding_of(header: Header) -> str:
    """A value of ENCODINGS, the name of another format that the header gives, or "" where it gives none."""
    named = re.match(r"EVT(\d)(\d?)$", header.fields.get("format", "").split(";")[0].strip())
    version = f"{named[1]}.{named[2] or 0}" if named else header.fields.get("evt", "")
    if version:
        return ENCODINGS.get(version, f"EVT {version}")
    return header.fields.get("format", "").split(";")[0]


def open_raw(data: Content, name: str, config: ReadConfig) -> Events:
    """Header lines `% ...`, then words of 32 bits (EVT 2.0), 64 (EVT 2.1) or 16 (EVT 3.0), little-endian.

    Column 0 is left and row 0 on top; times are those of the camera, not shifted to zero. Its clock has 34 bits, in
    EVT 3.0 24, and wraps. Events before the first word with a time (`before the first time`), and in EVT 3.0 before
    the first with a row or the start of a vector (`without an address`), cannot be placed; they are left out and
    counted, as are words of triggers (`trigger`), of extensions (`other word`) and of types that are not described
    (`unknown word`).

    Raises:
        UserError: another encoding or none; while it is read, an incomplete word, or as `finish`.
    """
    header = header_of(data)
    encoding = encoding_of(header)
    if encoding not in ENCODINGS.values():
        said = f"is in the encoding {encoding!r}, which is not read" if encoding else "does not say its encoding"
        raise UserError(f"{name} {said}: record it, or convert it, as one of {', '.join(ENCODINGS.values())}")
    decoders: dict[str, tuple[int, Callable[[], _Decoder]]] = {
        "EVT 2.0": (4, lambda: _decoder("2.0", _decode_2_0)),
        "EVT 2.1": (8, lambda: _decoder("2.1", _decode_2_1, _halves_swapped(header, data))),
        "EVT 3.0": (2, lambda: _decoder("3.0", _decode_3_0)),
    }
    size, decoder = decoders[encoding]

    def blocks(file: EventFile) -> Iterator[Block]:
        decode = decoder()
        for start, words in file.records(header.length, size, "word"):
            yield decode(file, start, words)

    sensors = (given_chip(config.chip, "Prophesee"),) if config.chip else _sensors(header)
    # In EVT 2.0 a word is one event at most.
    most = max(0, len(data) - header.length) // 4 if encoding == "EVT 2.0" else 0
    return Events(file=EventFile(data, name, config), blocks=blocks, sensors=sensors, most=most)


_Decoder = Callable[[EventFile, int, bytes], Block]


def _sensors(header: Header) -> tuple[Sensor, ...]:
    """The sensor that the header gives by its size, or those that it may be."""
    size = re.fullmatch(r"(\d{1,5})x(\d{1,5})", header.fields.get("geometry", ""))
    width, height = (int(size[1]), int(size[2])) if size else (0, 0)
    for key, value in re.findall(r";\s*(width|height)=(\d{1,5})", header.fields.get("format", "")):
        width, height = (int(value), height) if key == "width" else (width, int(value))
    if 0 < width < LARGEST_SIDE and 0 < height < LARGEST_SIDE:
        return (Sensor("Prophesee", width, height),)
    return _SENSORS


@dataclass
class _State:
    """What words have said so far of those to come."""

    high: int = -1
    """Upper part of the time as the last word gives it; -1: none came yet."""
    wraps: int = 0
    low: int = 0
    row: int = -1
    base: int = -1
    """Column of the next element of a vector."""
    base_on: bool = False

    def numbers(self) -> list[int]:
        """All of it, in the order of `State` in `decode.cpp`."""
        return [self.high, self.wraps, self.low, self.row, self.base, int(self.base_on)]

    @classmethod
    def of(cls, numbers: Sequence[int]) -> Self:
        """What has these `numbers`."""
        high, wraps, low, row, base, base_on = numbers
        return cls(high=high, wraps=wraps, low=low, row=row, base=base, base_on=bool(base_on))


def _decoder(encoding: Encoding, definition: Callable[..., Block], swapped: bool = False) -> _Decoder:
    """`definition` with a state of its own, or compiled code that gives the same."""
    compiled, first = words_decoder(encoding), _State()
    options = (swapped,) if encoding == "2.1" else ()
    if compiled is None:
        return partial(definition, first, *options)
    state = first.numbers()

    def decode(file: EventFile, start: int, content: bytes) -> Block:
        before = tuple(state)
        (t, x, y, on), left_out = compiled(content, state, swapped)
        for kind, count in zip(LEFT_OUT, left_out, strict=True):
            file.skip(kind, count)

        def offset(index: int) -> int:
            """Asked for where a file is refused: the definition knows which word an event is of."""
            block = definition(_State.of(before), *options, replace(file, skipped={}), start, content)
            assert block.offset is not None
            return block.offset(index)

        return Block(t=t, x=x, y=y, on=on, offset=offset)

    return decode


def _unwrapped(state: _State, highs: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """Upper parts of the time without wraps of the clock, from the last 16th of its range into the first."""
    before = np.concatenate([[state.high], highs])
    edge = (1 << bits) // 16
    wraps = state.wraps + np.cumsum((before[:-1] >= (1 << bits) - edge) & (before[1:] < edge))
    if len(highs):
        state.high, state.wraps = int(highs[-1]), int(wraps[-1])
    return highs + (wraps << bits)


def _before_words(before: int, values: NDArray[np.int64], counts: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """For each of `total` events the last value that was set before it.

    Args:
        before: the value before the first.
        values: [words] that set the value.
        counts: [words] events before each word.
    """
    lengths = np.diff(counts, prepend=0, append=total)
    return np.repeat(np.concatenate([[before], values]), lengths)


def _count_others(file: EventFile, kinds: NDArray[np.uint8], known: tuple[int, ...], others: tuple[int, ...]) -> None:
    """Count the words that are no events and say nothing of them."""
    number = np.bincount(kinds, minlength=16)
    file.skip("trigger", int(number[_TRIGGER]))
    file.skip("other word", int(sum(number[kind] for kind in others)))
    file.skip("unknown word", int(number.sum() - sum(number[kind] for kind in (*known, _TRIGGER, *others))))


def _decode_2_0(state: _State, file: EventFile, start: int, content: bytes) -> Block:
    """EVT 2.0: type 0 (OFF) or 1 (ON), 6 bits of time, 11 of column, 11 of row; type 8: the upper 28 bits of time."""
    words = np.frombuffer(content, "<u4").astype(np.uint32, copy=False)
    kinds = (words >> 28).astype(np.uint8)
    events = kinds < 2
    if int(np.count_nonzero(events)) < len(words):
        _count_others(file, kinds, (0, 1, 8), _OTHER)
    return _placed(state, file, start, 4, words, kinds, words[events], np.flatnonzero(events), None)


def _decode_2_1(state: _State, swapped: bool, file: EventFile, start: int, content: bytes) -> Block:
    """EVT 2.1: in the upper half a word as in EVT 2.0, in the lower a bit for each of 32 pixels from its column on."""
    halves = np.frombuffer(content, "<u4").astype(np.uint32, copy=False).reshape(-1, 2)
    words, masks = halves[:, 0 if swapped else 1], halves[:, 1 if swapped else 0]
    kinds = (words >> 28).astype(np.uint8)
    events = kinds < 2
    _count_others(file, kinds, (0, 1, 8), _OTHER)
    return _placed(state, file, start, 8, words, kinds, words[events], np.flatnonzero(events), masks[events])


def _halves_swapped(header: Header, data: Content) -> bool:
    """Whether the upper half of a word of 64 bits comes first, as the header says, or else the first words."""
    if said := re.search(r";\s*endianness=(\w+)", header.fields.get("format", "")):
        return said[1] == "legacy"
    content = data[header.length : header.length + 8 * BLOCK]
    halves = np.frombuffer(content[: len(content) // 8 * 8], "<u4").reshape(-1, 2)
    known = np.isin(halves >> 28, (0, 1, 8, _TRIGGER, *_OTHER)).sum(0)
    times = (halves >> 28 == 8).sum(0)
    # Where both halves could be the upper one, the one with words of time in it.
    return bool((known[0], times[0]) > (known[1], times[1]))


def _placed(
    state: _State,
    file: EventFile,
    start: int,
    size: int,
    words: NDArray[np.uint32],
    kinds: NDArray[np.uint8],
    found: NDArray[np.uint32],
    places: NDArray[np.int64],
    masks: NDArray[np.uint32] | None,
) -> Block:
    """The block of words of EVT 2.0, or of EVT 2.1 with their masks."""
    highs = np.flatnonzero(kinds == 8)
    known = state.high >= 0
    before = state.high + (state.wraps << 28)
    values = _unwrapped(state, (words[highs] & 0xFFFFFFF).astype(np.int64), 28)
    t = _before_words(before, values, np.searchsorted(places, highs), len(places)) << 6
    t |= found >> 22 & 63
    x, y, on = (found >> 11 & 0x7FF).astype(np.uint16), (found & 0x7FF).astype(np.uint16), found >> 28 == 1
    if not known and (early := int(np.searchsorted(places, highs[0])) if len(highs) else len(places)):
        file.skip("before the first time", early if masks is None else int(np.bitwise_count(masks[:early]).sum()))
        t, x, y, on, places = t[early:], x[early:], y[early:], on[early:], places[early:]
        masks = None if masks is None else masks[early:]
    if masks is not None:
        bits = np.unpackbits(np.ascontiguousarray(masks, "<u4").view(np.uint8), bitorder="little")
        each = np.flatnonzero(bits)
        which = each >> 5
        x = x[which] + (each & 31).astype(np.uint16)
        t, y, on, places = t[which], y[which], on[which], places[which]
    return Block(t=t, x=x, y=y, on=on, offset=lambda index: start + size * int(places[index]))


def _decode_3_0(state: _State, file: EventFile, start: int, content: bytes) -> Block:
    """EVT 3.0: words that set row (type 0), lower and upper time (6, 8) or the start of a vector (3), and events.

    Type 2 is an event with its column and polarity; types 4 and 5 have a bit for each of the next 12 and 8 elements of
    a vector, which goes on behind whatever words come in between. The upper part of the time sets the lower to 0
    where it changes, as the word with the lower comes only behind it.
    """
    words = np.frombuffer(content, "<u2").astype(np.uint16, copy=False)
    kinds = (words >> 12).astype(np.uint8)
    vector = kinds & 0xE == 4
    places = np.flatnonzero(vector | (kinds == 2))
    found = words[places]
    of_row, of_time = kinds == 0, (kinds == 6) | (kinds == 8)
    rows, times, bases = np.flatnonzero(of_row), np.flatnonzero(of_time), np.flatnonzero(kinds == 3)
    if len(places) + len(rows) + len(times) + len(bases) < len(words):
        _count_others(file, kinds, (0, 2, 3, 4, 5, 6, 8), (0x7, *_OTHER))
    unknown = state.high < 0, state.row < 0, state.base < 0
    # Of the words of a kind that were before an event, the last holds for it.
    row = _led(max(state.row, 0), words[rows] & 0x7FF)[np.cumsum(of_row, dtype=np.int32)[places]]
    t = _times(state, words[times], kinds[times])[np.cumsum(of_time, dtype=np.int32)[places]]
    if len(rows):
        state.row = int(words[rows[-1]]) & 0x7FF
    x, on = (found & 0x7FF).astype(np.int64), found & 0x800 != 0
    vectors = np.flatnonzero(vector[places])
    masks = None
    if len(vectors):
        starts, polarity = _vector_starts(state, words, kinds, bases, places[vectors])
        x[vectors], on[vectors] = starts, polarity
        masks = np.ones(len(places), dtype="<u2")
        masks[vectors] = found[vectors] & np.where(kinds[places[vectors]] == 4, 0xFFF, 0xFF).astype(np.uint16)
    elif len(bases):
        state.base, state.base_on = int(words[bases[-1]]) & 0x7FF, bool(words[bases[-1]] & 0x800)
    if any(unknown):
        end = len(words)
        uppers = np.flatnonzero(kinds == 8)
        set_at = [int(each[0]) if len(each) else end for each in (uppers, rows, bases)]
        time_set, row_set, base_set = (at if new else -1 for at, new in zip(set_at, unknown, strict=True))
        early = places < time_set
        lost = ~early & ((places < row_set) | (vector[places] & (places < base_set)))
        number = np.ones(len(places), dtype=np.int64) if masks is None else np.bitwise_count(masks).astype(np.int64)
        file.skip("before the first time", int(number[early].sum()))
        file.skip("without an address", int(number[lost].sum()))
        keep = ~(early | lost)
        t, row, on, places, x = t[keep], row[keep], on[keep], places[keep], x[keep]
        masks = None if masks is None else masks[keep]
    if masks is not None:
        each = np.flatnonzero(np.unpackbits(masks.view(np.uint8), bitorder="little"))
        which = each >> 4
        t, row, on, places, x = t[which], row[which], on[which], places[which], x[which] + (each & 15)
    column = np.minimum(x, np.iinfo(np.uint16).max).astype(np.uint16)
    return Block(t=t, x=column, y=row, on=on, offset=lambda index: start + 2 * int(places[index]))


def _led(before: int, values: NDArray[Any]) -> NDArray[Any]:
    """Values that words set, behind the one from before the first of them."""
    return np.concatenate([np.array([before], dtype=values.dtype), values])


def _times(state: _State, words: NDArray[np.uint16], kinds: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Time before the first and after each of the words of time of EVT 3.0."""
    before = max(state.high, 0) + (state.wraps << 12)
    first = state.high < 0
    values = words & 0xFFF
    upper = kinds == 8
    highs = _unwrapped(state, values[upper].astype(np.int64), 12)
    counts = np.cumsum(upper)
    high = _led(before, highs)[counts]
    # A new upper part sets the lower one to 0, the first one does so too; one that is only repeated leaves it.
    new = np.diff(highs, prepend=-1 if first else before) != 0
    low = np.where(upper, 0, values).astype(np.int64)
    if not new.all():
        repeated = upper.copy()
        repeated[upper] = ~new
        setting = np.maximum.accumulate(np.where(repeated, 0, np.arange(1, len(words) + 1)))
        low = _led(state.low, low)[setting]
    time = _led((before << 12) + state.low, (high << 12) + low)
    if len(words):
        state.low = int(low[-1])
    return time


def _vector_starts(
    state: _State,
    words: NDArray[np.uint16],
    kinds: NDArray[np.uint8],
    bases: NDArray[np.int64],
    vectors: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Column of the first element, and polarity, of each of the words of vectors of EVT 3.0 at some places."""
    sizes = np.where(kinds[vectors] == 4, 12, 8)
    passed = np.cumsum(sizes) - sizes
    counts = np.searchsorted(vectors, bases)
    set_to = words[bases].astype(np.int64) & 0x7FF
    # Elements before each word of a new start, so that those behind it count from there.
    gone = np.concatenate([passed, [int(sizes.sum())]])[counts]
    starts = passed + _before_words(max(state.base, 0), set_to - gone, counts, len(vectors))
    on = _before_words(int(state.base_on), (words[bases] >> 11 & 1).astype(np.int64), counts, len(vectors)) == 1
    last = int(vectors[-1])
    state.base, state.base_on = int(starts[-1] + sizes[-1]) if state.base >= 0 or len(bases) else -1, bool(on[-1])
    if len(bases) and int(bases[-1]) > last:
        state.base, state.base_on = int(set_to[-1]), bool(words[bases[-1]] & 0x800)
    return starts, on
