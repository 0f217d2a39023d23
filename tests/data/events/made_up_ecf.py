"""Events compressed as Prophesee's HDF5 files have them, number by number, for each way of packing addresses."""

import struct


def ecf(events, how):
    """A chunk of (t, x, y, on); `how` is "whole", "halves" or "runs"."""
    flags = {"whole": 2, "halves": 1, "runs": 0}[how]
    parts = [struct.pack("<IQ", len(events) << 2 | flags, events[0][0]), times([event[0] for event in events])]
    columns = [event[1] for event in events]
    rows = [event[2] for event in events]
    signs = [int(event[3]) for event in events]
    padding = [0] * (-len(events) % 4)
    if how == "whole":
        words = [y << 12 | x << 1 | p for x, y, p in zip(columns, rows, signs, strict=True)] + padding
        for at in range(0, len(words), 4):
            a, b, c, d = words[at : at + 4]
            parts.append(struct.pack("<III", a << 8 | b & 255, b >> 8 << 16 | c & 65535, c >> 16 << 24 | d))
        return b"".join(parts)
    for row, count in runs(rows):
        parts.append(struct.pack("<H", row << 5 | count) if count < 31 else struct.pack("<HH", row << 5 | 31, count))
    if how == "halves":
        words = [x << 1 | p for x, p in zip(columns, signs, strict=True)] + padding
        for at in range(0, len(words), 4):
            a, b, c, d = words[at : at + 4]
            parts.append(struct.pack("<HHH", a << 4 | b & 15, b >> 4 << 8 | c & 255, c >> 8 << 12 | d))
        return b"".join(parts)
    at = 0
    while at < len(columns):
        word, start = columns[at] << 5, columns[at]
        at += 1
        for step in range(1, 6):
            if at < len(columns) and columns[at] == start + step:
                word |= 1 << 5 - step
                at += 1
        parts.append(struct.pack("<H", word))
    for sign, count in runs(signs):
        parts.append(bytes([sign << 7 | count]) if count < 127 else struct.pack("<BH", sign << 7 | 127, count))
    return b"".join(parts)


def runs(values):
    """(value, how often it comes one after the other)."""
    found = []
    for value in values:
        if found and found[-1][0] == value:
            found[-1][1] += 1
        else:
            found.append([value, 1])
    return found


def times(values):
    now, parts = values[0], b""
    for t, count in runs(values):
        step = t - now
        if step >= 15:
            while step:
                parts += bytes([0xF0 | step & 15])
                step >>= 4
        now = t
        parts += bytes([step << 4 | count]) if count < 15 else struct.pack("<BH", step << 4 | 15, count)
    return parts
