import csv
import io
import pickle
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sresnet.errors import UserError, mendable
from sresnet.printing import HIDDEN, JOINERS, csv_of, encodable, one_line, printable, say


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("owl", "owl"),
        ("猫 ماهی שלום 🦉 naïve", "猫 ماهی שלום 🦉 naïve"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\nsresnet: all is well", r"a\nsresnet: all is well"),
        ("a\r\tb\x7f\x9b31m", r"a\r\tb\x7f\x9b31m"),
        ("cat\u202egnp.exe", r"cat\u202egnp.exe"),
        ("a\u2028b", r"a\u2028b"),
        ("caf\udce9", r"caf\xe9"),  # a byte that is not UTF-8, as Python reads names of files
        ("\ud800", r"\ud800"),
        ("می\u200cخواهم", "می\u200cخواهم"),
    ],
)
def test_what_shows_nothing_is_escaped(name, seen):
    assert printable(name) == seen


anything = st.text(st.characters(categories=[*HIDDEN, "L", "N", "P", "Zs", "S"]), max_size=60)


@given(anything)
@example("a\nb")
def test_nothing_hidden_is_left(text):
    shown = printable(text)
    assert not [char for char in shown if unicodedata.category(char) in HIDDEN and char not in JOINERS]
    assert printable(shown) == shown
    shown.encode()


@given(anything, st.sampled_from(["ascii", "cp1252", "utf-8", "latin-1", "shift-jis"]))
@example("naïve 猫\udcff", "ascii")
def test_every_stream_can_write_it(text, encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    stream.write(encodable(printable(text), stream))


@given(st.text(max_size=30), st.integers(0, 3000), st.text(max_size=30))
@example("--part ", 3000, " is not there: choose test")
def test_a_message_keeps_its_beginning_and_its_end(before, length, after):
    line = one_line(before + "A" * length + after)
    assert len(line) <= 2000
    assert one_line(line) == line
    assert line.startswith(printable(before)[:30])
    assert line.endswith(printable(after)[-30:])


def test_a_long_word_is_cut_where_the_line_has_room():
    line = one_line(f"--part {'A' * 1000} is not there")
    assert line.startswith("--part AAA")
    assert "A...[1,000 characters]...A" in line
    assert line.endswith("AAA is not there")
    assert len(line) == len("--part  is not there") + 400


def test_a_long_list_is_cut_too():
    line = one_line("choose from " + ", ".join(map(str, range(5000))) + " or none")
    assert len(line) < 2000
    assert line.startswith("choose from 0, 1, 2")
    assert "...[28,908 characters]..." in line
    assert line.endswith("4998, 4999 or none")


def test_say_prints_each_line_on_one_line(capsys):
    say("one", "two\nthree")
    say("four\x1b[2J", error=True)
    captured = capsys.readouterr()
    assert captured.out == "one\ntwo\\nthree\n"
    assert captured.err == "four\\x1b[2J\n"


def test_say_on_a_stream_of_ascii(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    say("Überraschung 猫\udcff")
    assert raw.getvalue() == b"\\xdcberraschung \\u732b\\xff\n"


def test_an_error_is_one_line_however_it_is_shown():
    error = UserError("a\nsresnet: \x1b[2Jall is well" + "!" * 5000)
    assert str(error).isprintable()
    assert len(str(error)) < 2000
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


SMALLER = "use smaller batches, fewer images or time steps, or a smaller network"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (FileNotFoundError(2, "No such file or directory", "a/b"), "a/b: No such file or directory: check the name"),
        (
            OSError(28, "No space left on device"),
            "an output or input: No space left on device: make room and run the same command again",
        ),
        (
            OSError(18, "Invalid cross-device link", "a", None, "b"),
            "a -> b: Invalid cross-device link: check the path and the disk",
        ),
        (OSError("cannot seek\nhere"), "the system refuses (cannot seek here): check the files that are named"),
        (OSError(), "the system refuses (OSError): check the files that are named"),
        (OSError(9999, None, 3), "an output or input: [Errno 9999] None: 3: check the path and the disk"),
        (
            MemoryError(),
            "memory does not suffice: use smaller batches, fewer images or time steps, or a smaller network",
        ),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes."),
            "memory does not suffice ([enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate "
            f"4 bytes.): {SMALLER}",
        ),
        (RuntimeError("shape '[3]' is invalid for input of size 4"), ""),
        (KeyError("memory"), ""),
        (ZeroDivisionError("division by zero"), ""),
    ],
)
def test_what_the_user_can_mend(error, line):
    assert mendable(error) == line


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+1+2", "'+1+2"),
        ("-owl", "'-owl"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("  =1", "'  =1"),
        ("＝1", "'＝1"),
        ("\t=1", r"\t=1"),
        ("\r=1", r"\r=1"),
        ("caf\udce9", r"caf\xe9"),
        ("owl", "owl"),
        ("a=b", "a=b"),
        ("", ""),
        ("-1.5", "-1.5"),
        (-2.5, "-2.5"),
        (float("-inf"), "-inf"),
        (3, "3"),
        (None, ""),
    ],
)
def test_a_cell_is_no_formula(cell, written):
    assert next(csv.reader(io.StringIO(csv_of([["x", cell]])))) == ["x", written]


@given(st.text(st.characters(exclude_categories=[]), max_size=30))
@example("\t=1")
def test_no_text_is_a_formula(text):
    (cell,) = next(csv.reader(io.StringIO(csv_of([[text or "x"]]))))
    try:
        float(cell)
    except ValueError:
        assert not cell.lstrip().startswith(("=", "+", "-", "@"))
    cell.encode()
