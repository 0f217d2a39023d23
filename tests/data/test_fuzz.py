"""Damaged batches: the parsers give valid data or UserError, and run nothing.

SRESNET_FUZZ_CASES is the number of cases of all tests here together, 2,000 if unset.
"""

import functools
import random
import sys
import types

import made_up_cifar as made_up
import pytest
import torch

from sresnet.data.cifar import _parse_binary_batch, _parse_python_batch
from tests import bounded
from tests.bounded import check, outcomes

ROWS = made_up.images(2)
SEEDS = {
    "python 10": made_up.python_batch(ROWS, labels=[3, 9]),
    "python 100": made_up.python_batch(ROWS, coarse_labels=[1, 19], fine_labels=[5, 99]),
    "binary 10": made_up.binary_batch(ROWS, [3, 9]),
    "binary 100": made_up.binary_batch(ROWS, [1, 19], [5, 99]),
}
CASES = bounded.CASES // len(SEEDS)
# Instructions, and calls that would ring the canary.
SNIPPETS = [
    b"csresnet_canary\nsing\n)R",
    b"(isresnet_canary\nsing\n",
    b"(csresnet_canary\nsing\no",
    b"\x8c\x0esresnet_canary\x8c\x04sing\x93)R",
    b"cnumpy\nndarray\n",
    b"c_codecs\nencode\n",
    b"r\xff\xff\xff\xff",
    b"T\xff\xff\xff\x7f",
    b"\x86\x86\x86",
    b"(t(t",
    *(bytes([code]) for code in b"().]}abceghijqrstuTUXKMJNR\x80\x81\x85\x86\x87\x88\x89"),
]


def damage(raw, rng):
    # Pixels are most of a batch and none of its structure: three cases of four are aimed at the bytes around them.
    start = raw.find(ROWS[0].tobytes())
    spots = [*range(start), *range(start + ROWS.nbytes, len(raw))] if rng.random() < 0.75 else range(len(raw) + 1)
    data = bytearray(raw)
    for _ in range(rng.choice([1, 1, 1, 2, 4, 16])):
        spot = rng.choice(spots)
        match rng.randrange(6):
            case 0 if spot < len(data):
                data[spot] ^= 1 << rng.randrange(8)
            case 1:
                data[spot:] = b""
            case 2:
                data[spot:spot] = rng.choice(SNIPPETS)
            case 3:
                data[spot:spot] = rng.randbytes(rng.randrange(1, 20))
            case 4:
                del data[spot : spot + rng.randrange(1, 20)]
            case 5:
                piece = rng.choice(SNIPPETS)
                data[spot : spot + len(piece)] = piece
    return bytes(data) if rng.random() < 0.97 else rng.randbytes(rng.randrange(200))


SUNG = []


def parse(kind, raw):
    """Parse a batch, in a process where whatever a pickle may call is heard."""
    canary = types.ModuleType("sresnet_canary")
    canary.sing = lambda *_: SUNG.append(1)
    sys.modules["sresnet_canary"] = canary
    version, classes = kind.split()
    try:
        if version == "python":
            images, labels = _parse_python_batch(raw, "made up")
        else:
            images, labels = _parse_binary_batch(raw, len(classes) - 1, "made up")
    finally:
        assert not SUNG
    assert images.dtype == torch.uint8
    assert images.shape == (len(labels), 3, 32, 32)
    assert labels.dtype == torch.int64
    # A renamed key can make a batch of CIFAR-100 one of CIFAR-10, never the other way round.
    assert 0 <= int(labels.min()) <= int(labels.max()) < 100
    return len(labels)


@pytest.mark.parametrize("kind", SEEDS)
def test_fuzz_parsers_give_valid_data_or_user_error(kind):
    rng = random.Random(kind)
    check(outcomes(functools.partial(parse, kind), (damage(SEEDS[kind], rng) for _ in range(CASES))))
