import os
import pickle
import struct
import sys
import types

import made_up_cifar as made_up
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sresnet.data.pickles import ByteArray, read_pickle
from sresnet.errors import UserError

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**31), 2**31 - 1)
    | st.binary(min_size=1, max_size=300)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.binary(min_size=1), inner),
    max_leaves=20,
)


@given(plain)
def test_plain_values_read_as_python_reads_them(value):
    assert read_pickle(pickle.dumps(value, protocol=2), "x") == value


@given(st.lists(st.integers(0, 6), max_size=4), st.randoms())
def test_byte_arrays_read_as_numpy_reads_them(shape, random):
    size = int(np.prod(shape))
    array = np.frombuffer(random.randbytes(size), dtype=np.uint8).reshape(shape)
    if size:  # Python 3 writes empty bytes as a call of bytes(), which no file needs
        read = read_pickle(pickle.dumps(array, protocol=2), "x")
        assert isinstance(read, ByteArray)
        assert np.array_equal(read.values, array)
        assert read.values.shape == array.shape


def test_python_2_bytes_agree_with_python():
    raw = made_up.python_batch(made_up.images(3), labels=[1, 2, 3])
    expected = pickle.loads(raw, encoding="bytes")
    read = read_pickle(raw, "x")
    assert np.array_equal(read.pop(b"data").values, expected.pop(b"data"))
    assert read == expected


def test_long_memo_and_strings():
    strings = [b"x" * 300, *(str(index).encode() for index in range(400))]
    long = b"T" + struct.pack("<i", 300) + strings[0] + b"q\x01"
    short = b"".join(b"U" + bytes([len(s)]) + s + b"r" + struct.pack("<I", 1000 + i) for i, s in enumerate(strings[1:]))
    raw = b"\x80\x02](" + long + short + b"h\x01j" + struct.pack("<I", 1399) + b"e."
    assert read_pickle(raw, "x") == [*strings, strings[0], strings[-1]]


class Runs:
    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.mark.parametrize("protocol", range(6))
def test_a_malicious_pickle_runs_nothing(protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"evil is not a pickle of plain values"):
        read_pickle(pickle.dumps({b"data": Runs()}, protocol=protocol), "evil")
    assert not list(tmp_path.iterdir())
    pickle.loads(pickle.dumps(Runs(), protocol=protocol))
    assert list(tmp_path.iterdir()), "the pickle of this test would do nothing anyway"


@pytest.mark.parametrize(
    "code",
    [
        b"cposix\nmkdir\n(U\x08executedtR.",
        b"(U\x08executediposix\nmkdir\n.",
        b"(cposix\nmkdir\nU\x08executedo.",
        b"\x80\x04U\x05posixU\x05mkdir\x93U\x08executed\x85R.",
        b"cbuiltins\neval\nU\x1c__import__('os').mkdir('ex')\x85R.",
        b"cnumpy\nload\n.",
        b"cnumpy.core.multiarray\nscalar\n.",
        b"c_codecs\ndecode\n.",
        b"cnumpy\nndarray\n)R.",
        b"cnumpy\nndarray\n)\x81.",
        b"cnumpy\ndtype\nU\x02O8\x85R.",
        b"c_codecs\nencode\nX\x01\x00\x00\x00aU\x04zlib\x86R.",
        b"c_codecs\nencode\n}U\x0c__defaults__K\x01sb.",
        b"\x82\x01.",
        b"P0\n.",
    ],
)
def test_no_name_is_run_by_any_instruction(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError):
        read_pickle(code, "evil")
    assert not list(tmp_path.iterdir())


def test_no_name_is_even_imported(monkeypatch):
    module = types.ModuleType("sresnet_canary")
    module.__getattr__ = lambda name: pytest.fail("looked up")
    monkeypatch.setitem(sys.modules, "sresnet_canary", module)
    with pytest.raises(UserError, match=r"asks for 'sresnet_canary.sing'"):
        read_pickle(b"csresnet_canary\nsing\n.", "evil")


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"", "ends at byte 0"),
        (b"\x80\x02}", "ends at byte 3"),
        (b"T\xff\xff\xff\x7fabc.", "ends at byte 9"),
        (b"T\xff\xff\xff\xff.", "ends at byte"),
        (b"N.N", "1 bytes follow its end"),
        (b"\x80\x03N.", "protocol 2"),
        (b"}]K\x01s.", "a list is a key"),
        (b"})K\x01s.", "a tuple is a key"),
        (b"}(K\x01u.", "do not fit together"),
        (b"NK\x01a.", "a NoneType stands where a list belongs"),
        (b"N}b.", "a NoneType stands where"),
        (b".", "do not fit together"),
        (b"h\x01.", "do not fit together"),
        (b"e.", "do not fit together"),
        (b"K\x01\x87.", "do not fit together"),
        (b"X\x01\x00\x00\x00\xff.", "do not fit together"),
        (b"\xff.", "0xff"),
    ],
)
def test_a_broken_pickle_says_where(raw, fault):
    with pytest.raises(UserError, match=fault):
        read_pickle(raw, "x")


@pytest.mark.parametrize(
    "array",
    [
        made_up.array(made_up.images(2), dtype=b"O8"),
        made_up.array(made_up.images(2), dtype=b"f4"),
        made_up.array(made_up.images(2), state=b"U\x03abc"),
        made_up.array(made_up.images(2), state=b"]"),
        made_up.array(made_up.images(2)).replace(b"\x89T", b"\x88T"),
        made_up.array(made_up.images(2)).replace(b"tb\x89", b"tb\x89N"),
        made_up.array(made_up.images(2)).replace(b"K\x02M\x00\x0c\x86", b"J\xff\xff\xff\xffJ\x00\xe8\xff\xff\x86"),
        made_up.array(made_up.images(2)).replace(b"K\x02M\x00\x0c\x86", b"J\x00\xe8\xff\xff\x85"),
        made_up.array(made_up.images(2)).replace(b"K\x02M\x00\x0c\x86", b"N"),
    ],
)
def test_an_array_of_another_kind_or_size_is_refused(array):
    assert isinstance(read_pickle(made_up.array(made_up.images(2)) + b".", "x"), ByteArray)
    with pytest.raises(UserError):
        read_pickle(array + b".", "x")


def test_a_memo_number_asks_for_no_memory():
    # Python's own unpickler makes a table of 4 billion entries of this.
    assert read_pickle(b"Nr\xff\xff\xff\xff.", "x") is None


def test_a_tower_of_tuples_ends():
    # Hashed or compared, 2 ** 60 steps.
    tower = b")" + b"".join(b"q\x01h\x01\x86" for _ in range(60))
    with pytest.raises(UserError, match="a tuple is a key"):
        read_pickle(b"}" + tower + b"Ns.", "x")
