"""The unpacked size of AEDAT 4 packets, from the headers of their blocks, without unpacking.

Source: the LZ4 frame format 1.6 and block format, Y. Collet; the Zstandard format, RFC 8878.
"""

import struct

LZ4, ZSTANDARD, SKIPPABLE = 0x184D2204, 0xFD2FB528, 0x184D2A50
"""Magic numbers; of the last, the lowest four bits may be anything."""


LZ4_MOST = 255
"""Bytes that one byte of a compressed block of LZ4 unpacks to at most."""


def most_unpacked(packet: bytes, compression: int, *, exact: bool = False) -> int:
    """Bytes that a packet unpacks to at most; ValueError where its blocks do not fit together.

    Args:
        compression: 0: none; 1, 2: LZ4; 3, 4: Zstandard.
        exact: read every sequence of LZ4, a second for ten million; otherwise only the sizes of blocks.
    """
    if compression == 0:
        return len(packet)
    at = total = 0
    try:
        while at < len(packet):
            (magic,) = struct.unpack_from("<I", packet, at)
            if magic & ~15 == SKIPPABLE:
                at += 8 + int(struct.unpack_from("<I", packet, at + 4)[0])
                continue
            if magic != (LZ4 if compression < 3 else ZSTANDARD):
                raise ValueError(f"byte {at:,} of it is not the start of a frame")
            at, size = _lz4_frame(packet, at + 4, exact) if compression < 3 else _zstandard_frame(packet, at + 4)
            total += size
    except (struct.error, IndexError):
        raise ValueError("it ends inside a frame") from None
    return total


def _lz4_frame(packet: bytes, at: int, exact: bool) -> tuple[int, int]:
    """(byte behind it, bytes that it unpacks to at most) of the frame whose descriptor begins at `at`."""
    flags = packet[at]
    most = 1 << 8 + 2 * (packet[at + 1] >> 4 & 7)
    at += 3 + 8 * (flags >> 3 & 1) + 4 * (flags & 1)
    total = 0
    while True:
        (size,) = struct.unpack_from("<I", packet, at)
        at += 4
        if size == 0:
            return at + 4 * (flags >> 2 & 1), total
        length = size & 0x7FFFFFFF
        if at + length > len(packet):
            raise IndexError
        if size >> 31:  # not compressed
            total += length
        else:
            total += _lz4_block(packet, at, at + length) if exact else min(most, LZ4_MOST * length)
        at += length + 4 * (flags >> 4 & 1)


def _lz4_block(packet: bytes, at: int, end: int) -> int:
    """Bytes that a compressed block unpacks to: the lengths of its literals and matches."""
    total = 0
    while at < end:
        token = packet[at]
        at += 1
        literals = token >> 4
        if literals == 15:
            at, more = _run(packet, at, end)
            literals += more
        at += literals
        total += literals
        if at >= end:  # the last sequence has no match
            break
        at += 2
        match = token & 15
        if match == 15:
            at, more = _run(packet, at, end)
            match += more
        total += match + 4
    return total


def _run(packet: bytes, at: int, end: int) -> tuple[int, int]:
    """(byte behind it, sum) of bytes 255 and the one that follows."""
    start = at
    while at < end and packet[at] == 255:
        at += 1
    if at >= end:
        raise IndexError
    return at + 1, 255 * (at - start) + packet[at]


def _zstandard_frame(packet: bytes, at: int) -> tuple[int, int]:
    """(byte behind it, bytes that it unpacks to at most) of the frame whose header begins at `at`."""
    descriptor = packet[at]
    single = descriptor >> 5 & 1
    window = at + 1
    sizes = (single, 2, 4, 8)
    at += 1 + (1 - single) + (0, 1, 2, 4)[descriptor & 3]
    count = sizes[descriptor >> 6]
    most = 1 << 17
    if not single:
        exponent, mantissa = packet[window] >> 3, packet[window] & 7
        most = min(most, (1 << 10 + exponent) * (8 + mantissa) // 8)
    elif count:
        content = int.from_bytes(packet[at : at + count], "little") + 256 * (count == 2)
        most = min(most, content)
    at += count
    total = 0
    while True:
        header = int.from_bytes(packet[at : at + 3], "little")
        if at + 3 > len(packet):
            raise IndexError
        last, kind, size = header & 1, header >> 1 & 3, header >> 3
        at += 3 + (1 if kind == 1 else size)
        # Raw, or one byte that is repeated: as long as it says. Compressed: as long as a block may be.
        total += size if kind < 2 else most
        if at > len(packet) or kind == 3:
            raise IndexError
        if last:
            return at + 4 * (descriptor >> 2 & 1), total
