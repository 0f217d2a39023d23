"""Ways in which files get damaged, by chance or on purpose: bytes, JSON that says something else, safetensors."""

import copy
import json
import random
import struct

from sresnet.models.tensors import CHECKSUM

ODD = [
    None, True, False, 0, -1, 1, 2, 10**9, 10**30, -(1 << 63), 1 << 64, 0.0, -0.5, 1e-320, 1e308, float("nan"),
    float("inf"), float("-inf"), "", "0", "1", "nan", "x", "x" * 3000, "../../etc", "/dev/stdin", "\x1b[2J\n",
    "\u202e=1+1", "\ud800", "\0", [], {}, [[]], [None], {"": None}, [0] * 1000, ["a", "a"], {"family": "resnet"},
]  # fmt: skip
"""Values in place of others."""
TOO_MUCH = ["1e400", "-" + "9" * 5000, "[" * 200 + "]" * 200, "[" * 100_000, '{"a":' * 300 + "1" + "}" * 300, "NaN"]
"""JSON text that is not a value, or more than anyone can hold."""


def damaged_bytes(content: bytes, rng: random.Random) -> bytes:
    """One to sixteen changes of bytes anywhere."""
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 4, 16])):
        spot = rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0 | 1 if spot < len(data):
                data[spot] ^= 1 << rng.randrange(8)
            case 2:
                data[spot:] = b""
            case 3:
                data[spot:spot] = rng.randbytes(rng.randrange(1, 20))
            case 4:
                del data[spot : spot + rng.randrange(1, 20)]
            case _:
                data[spot:spot] = data[spot : spot + rng.randrange(1, 200)]
    return (
        bytes(data) if rng.random() < 0.98 else rng.choice([b"", b"\0" * 100, b"\xff\xfe{\0}\0", b"null", b"[]", b"{}"])
    )


def damaged_json(content: bytes, rng: random.Random, indent: int | None = 2) -> bytes:
    """JSON of which one to four values were replaced, taken away, added, doubled or exchanged; or damaged bytes."""
    if rng.random() < 0.2:
        return damaged_bytes(content, rng)
    value = json.loads(content)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        value = changed(value, rng)
    text = json.dumps(value, indent=indent)
    if rng.random() < 0.1:  # in place of some number or word
        words = text.split(" ")
        words[rng.randrange(len(words))] = rng.choice(TOO_MUCH)
        text = " ".join(words)
    return text.encode()


def damaged_lines(content: bytes, rng: random.Random) -> bytes:
    """Lines of JSON of which some are damaged, gone, doubled, exchanged or cut short."""
    lines = content.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    match rng.randrange(6):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, lines[rng.randrange(len(lines))])
        case 2:
            rng.shuffle(lines)
        case 3:
            lines[-1] = lines[-1][: rng.randrange(len(lines[-1]))]
        case _:
            lines[at] = damaged_json(lines[at], rng, indent=None) + b"\n"
    return b"".join(lines)


def damaged_safetensors(content: bytes, rng: random.Random) -> bytes:
    """Tensors of which the header says something else, or whose bytes were changed; or damaged bytes."""
    length = struct.unpack("<Q", content[:8])[0]
    header, tensors = content[8 : 8 + length], bytearray(content[8 + length :])
    match rng.randrange(5):
        case 0:
            return damaged_bytes(content, rng)
        case 1:
            header = damaged_json(header, rng, indent=None)
        case 2:  # what the metadata say of the network or the position is JSON in JSON
            about = json.loads(header)
            name = rng.choice(sorted(about["__metadata__"]))
            inner = (
                damaged_json(about["__metadata__"][name].encode(), rng)
                if about["__metadata__"][name][:1] == "{"
                else b""
            )
            about["__metadata__"][name] = inner.decode(errors="replace")
            header = json.dumps(about).encode()
        case 3:  # a number that is none, or another one
            spot = 4 * rng.randrange(len(tensors) // 4)
            tensors[spot : spot + 4] = struct.pack(
                "<f", rng.choice([float("nan"), float("inf"), 1e38, -1.0, 0.0, 123.0])
            )
        case _:
            spot = rng.randrange(len(tensors))
            tensors[spot] ^= 1 << rng.randrange(8)
    return struct.pack("<Q", len(header)) + header + bytes(tensors)


def damaged_older(content: bytes, rng: random.Random) -> bytes:
    """The same without a checksum, as in files of before there were any, or as whoever means harm can make it."""
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    del header["__metadata__"][CHECKSUM]
    plain = json.dumps(header).encode()
    return damaged_safetensors(struct.pack("<Q", len(plain)) + plain + content[8 + length :], rng)


def changed(value, rng: random.Random):
    """A copy of a JSON value with a change at a place drawn from all of it."""
    value = copy.deepcopy(value)
    places = [*inside(value)]
    if not places:
        return rng.choice(ODD)
    outer, key = rng.choice(places)
    match rng.randrange(7):
        case 0:
            del outer[key]
        case 1 if isinstance(outer, dict):
            outer[rng.choice(["extra", "family", "", "__metadata__", *outer])] = rng.choice(ODD)
        case 2:
            other, name = rng.choice(places)
            outer[key], other[name] = copy.deepcopy(other[name]), copy.deepcopy(outer[key])
        case 3 if isinstance(outer[key], int | float) and not isinstance(outer[key], bool):
            outer[key] = rng.choice([outer[key] * 1000, -outer[key], outer[key] + 1, str(outer[key]), [outer[key]]])
        case 4:
            outer[key] = [outer[key]]
        case _:
            outer[key] = rng.choice(ODD)
    return value


def inside(value):
    """(container, key or index) of everything inside a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield value, key
        yield from inside(inner)
