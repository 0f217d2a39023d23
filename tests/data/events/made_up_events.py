"""Small event files of every format, written record by record with struct, as the formats' descriptions say.

Events are lists of (t, x, y, on): microseconds, column from the left, row from the top, brighter.
"""

import struct

DVS128 = b"#!AER-DAT2.0\r\n# This is a raw AE data file - do not edit\r\n# Timestamps tick is 1 us\r\n"
DAVIS240 = DVS128 + b"# AEChip: eu.seebetter.ini.chips.davis.DAVIS240C\r\n#End Of ASCII Header\r\n"


def events(count=12, width=34, height=34, step=100, start=5):
    """Some events whose columns, rows and polarities all differ."""
    return [
        (start + step * index, (7 * index + 3) % width, (5 * index + 1) % height, index % 3 == 0)
        for index in range(count)
    ]


def dvs128_word(x, y, on):
    return (127 - y) << 8 | (127 - x) << 1 | (not on)


def davis240_word(x, y, on):
    return (179 - y) << 22 | (239 - x) << 12 | on << 11


def aedat2(listed, header=DVS128, word=dvs128_word):
    return header + b"".join(struct.pack(">II", word(x, y, on), t & 0xFFFFFFFF) for t, x, y, on in listed)


def aedat2_davis(listed):
    """With two samples of a frame, one of the inertial sensor and a synchronisation pulse after every event."""
    others = [1 << 31 | 5 << 22 | 1 << 10 | 78, 1 << 31 | 5 << 22 | 1 << 10 | 77, 1 << 31 | 3 << 10 | 9, 1 << 10 | 4]
    records = []
    for t, x, y, on in listed:
        records += [(davis240_word(x, y, on), t), *((word, t) for word in others)]
    return DAVIS240 + b"".join(struct.pack(">II", word, t) for word, t in records)


def aedat3(listed, source=b"DVS128", per_packet=5):
    header = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: " + source + b"\r\n#Start-Time: x\r\n#!END-HEADER\r\n"
    parts = [header, aedat3_packet(0, [b"\x01\x02\x03\x04\x05\x06\x07\x08"])]
    for at in range(0, len(listed), per_packet):
        some = listed[at : at + per_packet]
        for overflow in sorted({t >> 31 for t, *_ in some}):
            bodies = [aedat3_event(*event) for event in some if event[0] >> 31 == overflow]
            parts.append(aedat3_packet(1, bodies, overflow))
        parts.append(aedat3_packet(3, [bytes(36)] * 2))
    return b"".join(parts)


def aedat3_event(t, x, y, on, valid=1):
    return struct.pack("<II", x << 17 | y << 2 | on << 1 | valid, t & 0x7FFFFFFF)


def aedat3_packet(kind, bodies, overflow=0):
    size, number = len(bodies[0]), len(bodies)
    return struct.pack("<hhiiiiii", kind, 1, size, 4, overflow, number, number, number) + b"".join(bodies)


def aedat4(listed, per_packet=5, width=34, height=34):
    """Without compression; a packet of the inertial sensor in between."""
    parts = [aedat4_header(width, height)]
    for at in range(0, len(listed), per_packet):
        body = aedat4_events(listed[at : at + per_packet])
        parts += [struct.pack("<ii", 0, len(body)), body, struct.pack("<ii", 2, 4), b"IMUS"]
    return b"".join(parts)


def aedat4_header(width, height):
    streams = (("0", "EVTS"), ("2", "IMUS"))
    xml = '<dv version="2.0"><node name="outInfo" path="/mainloop/Recorder/outInfo/">'
    for number, kind in streams:
        xml += f'<node name="{number}" path="/mainloop/Recorder/outInfo/{number}/">'
        xml += (
            f'<attr key="compression" type="string">NONE</attr><attr key="typeIdentifier" type="string">{kind}</attr>'
        )
        xml += f'<node name="info" path="/mainloop/Recorder/outInfo/{number}/info/">'
        xml += f'<attr key="sizeX" type="int">{width}</attr><attr key="sizeY" type="int">{height}</attr>'
        xml += '<attr key="source" type="string">DVXplorer_DXB00010</attr></node></node>'
    xml += "</node></dv>"
    # A flatbuffer: root table, identifier, where its fields are, compression, place of the text, table of packets.
    table = struct.pack("<I4s6xHHHHHiiIqI", 24, b"IOHE", 10, 20, 4, 12, 8, 10, 0, 12, -1, len(xml)) + xml.encode()
    table += bytes(4 - len(table) % 4)
    return b"#!AER-DAT4.0\r\n" + struct.pack("<I", len(table)) + table


def aedat4_events(listed):
    table = struct.pack("<I4s2xHHHiI4xI", 16, b"EVTS", 6, 8, 4, 6, 8, len(listed))
    table += b"".join(struct.pack("<qHH?3x", t, x, y, on) for t, x, y, on in listed)
    return struct.pack("<I", len(table)) + table


def aedat4_packed(packets, compression, size=(34, 34)):
    """A file whose packets are compressed already."""
    header = bytearray(aedat4_header(*size))
    struct.pack_into("<i", header, 14 + 4 + 24 + 4, compression)
    return bytes(header) + b"".join(struct.pack("<ii", 0, len(packet)) + packet for packet in packets)


def zstandard(start, zeros=0):
    """A frame: a raw block, then blocks of one byte that is repeated up to 128 KiB times."""
    blocks = [struct.pack("<I", (zeros == 0) | len(start) << 3)[:3] + start]
    for left in range(zeros, 0, -(1 << 17)):
        size = min(left, 1 << 17)
        blocks.append(struct.pack("<I", (left <= 1 << 17) | 2 | size << 3)[:3] + b"\0")
    return struct.pack("<IBB", 0xFD2FB528, 0, 7 << 3) + b"".join(blocks)


def lz4(start, zeros=0):
    """A frame: a block that is not compressed, then blocks that say "the last byte again" up to 4 million times."""
    blocks = [struct.pack("<I", len(start) | 1 << 31) + start]
    while zeros:
        size = min(zeros, 1 << 22)
        more, rest = divmod(size - 6 - 19, 255)
        block = b"\x1f\0\x01\0" + b"\xff" * more + bytes([rest]) + b"\x50" + bytes(5)
        blocks.append(struct.pack("<I", len(block)) + block)
        zeros -= size
    return struct.pack("<IBB", 0x184D2204, 0x60, 0x70) + b"\x73" + b"".join(blocks) + bytes(4)


PACKERS = {"lz4": (1, lz4), "zstandard": (3, zstandard)}
"""Name -> number of the compression, and what makes a packet of it."""


def nmnist(listed):
    return b"".join(
        struct.pack(">BBI", x, y, on << 23 | t)[:2] + struct.pack(">I", on << 23 | t)[1:] for t, x, y, on in listed
    )


def prophesee(listed, header=b"% Data file containing CD events.\n% Version 2\n% Width 304\n% Height 240\n", kind=12):
    body = b"".join(struct.pack("<II", t & 0xFFFFFFFF, on << 28 | y << 14 | x) for t, x, y, on in listed)
    return header + bytes([kind, 8]) + body


RAW = b"% camera_integrator_name Prophesee\n% evt VERSION\n% format FORMAT;height=240;width=304\n% end\n"


def raw_header(encoding):
    """Of EVT2, EVT21 or EVT3."""
    version = f"{encoding[3]}.{encoding[4:] or 0}"
    return RAW.replace(b"VERSION", version.encode()).replace(b"FORMAT", encoding.encode())


def evt2_words(listed):
    """(word, whether it is an event) of EVT 2.0: a time word, 28 bits, where the upper part changes."""
    high = None
    for t, x, y, on in listed:
        if t >> 6 != high:
            high = t >> 6
            yield 8 << 28 | high & 0xFFFFFFF, False
        yield on << 28 | (t & 63) << 22 | x << 11 | y, True


def evt2(listed, header=None):
    header = raw_header("EVT2") if header is None else header
    return header + b"".join(struct.pack("<I", word) for word, _ in evt2_words(listed))


def evt21(listed, legacy=False):
    """Every event in a word of its own, the lowest of its 32 pixels or another."""
    header = raw_header("EVT21").replace(b";height", b";endianness=legacy;height" if legacy else b";height")
    parts = []
    for index, (word, event) in enumerate(evt2_words(listed)):
        shift = index % 32 if event and (word >> 11 & 0x7FF) >= index % 32 else 0
        halves = [1 << shift if event else 0, word - (shift << 11)]
        parts.append(struct.pack("<II", *(halves[::-1] if legacy else halves)))
    return header + b"".join(parts)


def evt3_words(listed):
    """Words of EVT 3.0: of time and row where they change, then an event in a word of its own."""
    high = low = row = None
    for t, x, y, on in listed:
        if t >> 12 != high:
            high, low = t >> 12, 0
            yield 0x8000 | high & 0xFFF
        if t & 0xFFF != low:
            low = t & 0xFFF
            yield 0x6000 | low
        if y != row:
            row = y
            yield row
        yield 0x2000 | on << 11 | x


def evt3(listed, header=None):
    header = raw_header("EVT3") if header is None else header
    return header + b"".join(struct.pack("<H", word) for word in evt3_words(listed))


FILES = {
    "dvs128.aedat": aedat2,
    "davis.aedat": aedat2_davis,
    "three.aedat": aedat3,
    "four.aedat4": aedat4,
    "nmnist.bin": nmnist,
    "prophesee.dat": prophesee,
    "two.raw": evt2,
    "two-one.raw": evt21,
    "three.raw": evt3,
}
"""A writer for every kind of file, by a name that it may have."""
