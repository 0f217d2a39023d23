"""Compiled decoders of event files give what the numpy definitions give, in everything."""

import struct
from functools import partial

import made_up_events as made_up
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_event_chunks import joined, outcome
from test_event_readers import listed

from sresnet.data.events import aedat4, columns, compiled, dat, evt
from sresnet.data.events.columns import EventFile, ReadConfig
from sresnet.data.events.read import parse_recording, read_chunks
from sresnet.ops.dispatch import implementation
from sresnet.ops.scan import native

pytestmark = pytest.mark.skipif(compiled._library() is None, reason="no C++ compiler")

# By encoding: struct's letter of a word, bits of its type and of what is behind it, the numpy decoder, header, options.
ENCODINGS = {
    "2.0": ("I", 28, evt._decode_2_0, "EVT2", ()),
    "2.1 legacy": ("Q", 60, evt._decode_2_1, "EVT21;endianness=legacy", (True,)),
    "2.1": ("Q", 60, evt._decode_2_1, "EVT21;endianness=little", (False,)),
    "3.0": ("H", 12, evt._decode_3_0, "EVT3", ()),
}
TYPES = {
    "3.0": [0, 2, 2, 2, 3, 4, 4, 5, 6, 6, 8, 8],
    "2": [0, 1, 0, 1, 8, 8],
}


@st.composite
def contents(draw, encoding):
    """Bytes of words: mostly of types that mean something, times near the ends of the clock's range among them."""
    letter, shift, *_ = ENCODINGS[encoding]
    known = st.sampled_from(TYPES["3.0" if encoding == "3.0" else "2"])
    kinds = st.one_of(known, known, known, st.integers(0, 15))
    top = (1 << shift) - 1
    few = st.sampled_from([1, 2, 0x803, top, top - 1])
    low = st.one_of(few, few, st.integers(0, top), st.integers(top - 300, top))
    words = [kind << shift | value for kind, value in draw(st.lists(st.tuples(kinds, low), max_size=60))]
    if encoding == "2.1 legacy":
        words = [word >> 32 | (word & 0xFFFFFFFF) << 32 for word in words]
    return struct.pack(f"<{len(words)}{letter}", *words)


def check_blocks(encoding, content, sizes, places=True):
    """Both decoders on blocks of these numbers of words, the last of which takes the rest."""
    letter, _, definition, _, options = ENCODINGS[encoding]
    size = struct.calcsize(letter)
    fast = evt._decoder(encoding[:3], definition, *options)
    slow = partial(definition, evt._State(), *options)
    files = EventFile(b"", "x"), EventFile(b"", "x")
    at = 0
    for words in [*sizes, len(content)]:
        block = content[at : at + size * words]
        found, expected = fast(files[0], 99 + at, block), slow(files[1], 99 + at, block)
        for column in ("t", "x", "y", "on"):
            one, other = getattr(found, column), getattr(expected, column)
            assert one.dtype == other.dtype
            assert np.array_equal(one, other)
        events = range(len(expected.t) if places else 0)
        assert [found.offset(index) for index in events] == [expected.offset(index) for index in events]
        assert list(files[0].skipped.items()) == list(files[1].skipped.items())
        at += len(block)


@pytest.mark.parametrize("encoding", ENCODINGS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_words_block_by_block(encoding, data):
    check_blocks(encoding, data.draw(contents(encoding)), data.draw(st.lists(st.integers(1, 30), max_size=6)))


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("seed", range(6))
def test_many_words_of_few_values(encoding, seed):
    """Repeated and falling times, wraps at the very edges of the clock's last and first 16th, vectors off the end."""
    draw = np.random.default_rng(seed)
    bits, count = (12 if encoding == "3.0" else 28), 20_000
    end = 1 << bits
    edges = [each + step for each in (end // 16, end - end // 16) for step in (-1, 0, 1)]
    values = draw.choice([*edges, 0, 1, 2, 0x803, end - 1, *draw.integers(0, end, 4)], count)
    kinds = draw.choice(TYPES["3.0" if encoding == "3.0" else "2"], count)
    kinds[draw.random(count) < 0.05] = 15
    if seed == 0:  # in EVT 3.0 one vector, which runs beyond 2^16 columns
        kinds[-8000:] = 4
    words = kinds << bits | values
    if encoding == "3.0":
        content = words.astype("<u2").tobytes()
    else:
        masks = draw.integers(0, 1 << 32, count) & draw.integers(0, 1 << 32, count)
        both = [words, masks] if encoding == "2.1 legacy" else [masks, words]
        content = (words if encoding == "2.0" else np.stack(both, 1)).astype("<u4").tobytes()
    check_blocks(encoding, content, draw.integers(1, 2000, 15), places=False)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([(14, 14), (9, 8)]))
def test_records_of_dat(content, bits):
    content = content[: len(content) // 8 * 8]
    for found, expected in zip(compiled.dat_decoder(*bits)(content), dat._decode(*bits, content), strict=True):
        assert np.array_equal(found, expected)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 30))
def test_events_of_aedat4(packet, at):
    decode = compiled.aedat4_decoder()
    counts = [max(0, len(packet) - at) // 16, 0, max(0, len(packet) - at) // 32]
    decoded = [decode(packet, at, count) for count in counts]
    for found, count in zip(decoded, counts, strict=True):  # nothing overwrites what came before
        for one, other in zip(found, aedat4._decode(packet, at, count), strict=True):
            assert one.dtype == other.dtype
            assert np.array_equal(one, other)


def test_packets_of_aedat4_that_share_arrays_or_do_not(monkeypatch):
    monkeypatch.setattr(compiled, "_SHARED", 100)
    decode, draw = compiled.aedat4_decoder(), np.random.default_rng(0)
    packets = [draw.bytes(16 * count) for count in (60, 40, 1, 250, 0, 99, 3)]
    for found, packet in zip([decode(each, 0, len(each) // 16) for each in packets], packets, strict=True):
        for one, other in zip(found, aedat4._decode(packet, 0, len(packet) // 16), strict=True):
            assert np.array_equal(one, other)


@pytest.mark.parametrize("encoding", [*ENCODINGS, "dat", "aedat4"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whole_files(encoding, data, tmp_path_factory):
    """Recordings and messages are the same, and so are chunks, whichever blocks are read, whatever is damaged."""
    name = "x.raw"
    if encoding == "aedat4":
        name, listed_ = "x.aedat4", made_up.events(data.draw(st.integers(1, 60)), step=40)
        moved = data.draw(st.lists(st.tuples(st.integers(0, 59), st.sampled_from([0, -1, 1 << 62, 41])), max_size=3))
        for at, t in moved:
            listed_[at % len(listed_)] = (t, *listed_[at % len(listed_)][1:])
        raw = made_up.aedat4(listed_, per_packet=data.draw(st.integers(1, 20)), width=data.draw(st.integers(20, 34)))
        raw = raw[: len(raw) - data.draw(st.sampled_from([0, 0, 1]))]
    elif encoding == "dat":
        raw, name = (
            made_up.prophesee(made_up.events(data.draw(st.integers(1, 60)), width=30, height=30, step=40)),
            "x.dat",
        )
        raw = raw[:60] + data.draw(st.binary(max_size=160)) + raw[60:]
    else:
        size = data.draw(st.sampled_from(["", ";height=720;width=1280", ";height=2048;width=2048"]))
        raw = f"% format {ENCODINGS[encoding][3]}{size}\n% end\n".encode() + data.draw(contents(encoding))
        raw = raw[: len(raw) - data.draw(st.sampled_from([0, 0, 1]))]
    path = tmp_path_factory.mktemp("compiled") / name
    path.write_bytes(raw)
    config = ReadConfig(damaged=data.draw(st.sampled_from(["error", "skip"])))

    def everything():
        whole = outcome(lambda: parse_recording(raw, name, config))
        facts = whole[0] and (listed(whole[0]), whole[0].skipped, whole[0].sensor, whole[0].width, whole[0].height)
        return facts, whole[1], outcome(lambda: joined(read_chunks(path, 7, config)))

    before, columns.BLOCK = columns.BLOCK, data.draw(st.sampled_from([1, 3, 16, 1 << 16]))
    try:
        found = everything()
        with implementation("reference"):
            assert everything() == found
    finally:
        columns.BLOCK = before


def test_the_reference_is_numpy_and_so_is_what_has_no_compiler(monkeypatch, capsys):
    assert compiled.words_decoder("3.0")
    assert compiled.dat_decoder(14, 14)
    assert compiled.aedat4_decoder()
    with implementation("reference"):
        assert compiled.words_decoder("3.0") is compiled.dat_decoder(14, 14) is compiled.aedat4_decoder() is None

    def none():
        raise native._NativeError("no C++ compiler")

    monkeypatch.setattr(native, "_find_compiler", none)
    compiled._library.cache_clear()
    try:
        some = made_up.events(200, width=30, height=30, step=40)
        assert listed(parse_recording(made_up.evt3(some), "x.raw")) == some
        assert compiled.words_decoder("3.0") is None
    finally:
        compiled._library.cache_clear()
    # Numbers are right and hardly later, so there is nothing that its user should do.
    assert capsys.readouterr().err == ""
