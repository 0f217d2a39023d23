"""Small batches in the published formats, written byte by byte as Python 2 wrote the real ones."""

import struct

import numpy as np


def images(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 3072), dtype=np.uint8)


def binary_batch(rows, *labels):
    return np.concatenate([*(np.array(column, dtype=np.uint8)[:, None] for column in labels), rows], axis=1).tobytes()


def python_batch(rows, **labels):
    """`labels`: lists of integers by key, such as `labels` or `fine_labels`."""
    parts = [text("batch_label"), text("testing batch 1 of 1"), text("data"), array(rows)]
    for key, values in labels.items():
        parts += [text(key), sequence([b"K" + bytes([value]) for value in values])]
    parts += [text("filenames"), sequence([text(f"image_{index}.png") for index in range(len(rows))])]
    return pickled(parts)


def python_meta(**names):
    return pickled([part for key, values in names.items() for part in (text(key), sequence(map(text, values)))])


def pickled(items):
    """A dictionary from keys and values by turns."""
    return b"\x80\x02}q\x01(" + b"".join(items) + b"u."


def text(value):
    return b"U" + bytes([len(value)]) + value.encode() + b"q\x02"


def sequence(items):
    return b"]q\x03(" + b"".join(items) + b"e"


def array(rows, dtype=b"u1", state=None):
    shape = b"K" + bytes([rows.shape[0]]) + b"M" + struct.pack("<H", rows.shape[1]) + b"\x86"
    state = state if state is not None else b"T" + struct.pack("<i", rows.nbytes) + rows.tobytes()
    return (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x04cnumpy\nndarray\nq\x05K\x00\x85U\x01b\x87R(K\x01"
        + shape
        + b"cnumpy\ndtype\nq\x06U"
        + bytes([len(dtype)])
        + dtype
        + b"K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + state
        + b"tb"
    )
