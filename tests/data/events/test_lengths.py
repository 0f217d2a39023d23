"""How long clips last: of one recording, of all, and what is said where others come."""

import pytest

from sresnet.data.events.lengths import (
    Lengths,
    lengths_from_plain,
    lengths_of,
    lengths_of_all,
    other_lengths,
    time_said,
)


def lengths(*seconds):
    return Lengths(**dict(zip(("shortest", "usual", "longest"), seconds, strict=True)))


def test_lengths_of_windows():
    spans = [(5, 8), (9, 10), (20, 27)]
    assert lengths_of(spans) == lengths(1e-6, 3e-6, 7e-6)
    assert lengths_of(spans[:2]) == lengths(1e-6, 1e-6, 3e-6)
    assert lengths_of([]) is None


def test_the_median_counts_every_clip():
    entries = [
        {"clips": 1, "lasts": [9.0, 9.0, 9.0]},
        {"clips": 0},
        {"clips": 3, "lasts": [0.5, 2.0, 3.0]},
        {"clips": 1, "lasts": [1.0, 1.0, 1.0]},
    ]
    assert lengths_of_all(entries) == lengths(0.5, 2.0, 9.0)
    assert lengths_of_all(entries[1:2]) is None
    assert lengths_of_all([*entries, {"clips": 1}]) is None  # of an earlier version


@pytest.mark.parametrize(
    "values",
    [None, [], [1.0, 2.0], [2.0, 1.0, 3.0], [0.0, 1.0, 2.0], [1.0, 2.0, float("inf")], "abc", ["1", "2", "3"]],
)
def test_what_is_no_lengths(values):
    assert lengths_from_plain(values) is None


def test_lengths_as_json_holds_them():
    found = lengths(0.5, 1.0, 1.5)
    assert lengths_from_plain(found.plain()) == found
    assert found.divided(5) == lengths(0.1, 0.2, 0.3)


@pytest.mark.parametrize(("seconds", "said"), [(0.24, True), (0.25, False), (1, False), (3, False), (3.1, True)])
def test_a_note_from_twice_as_long_on(seconds, said):
    found = other_lengths(lengths(0.5, 1.0, 1.5), lengths(seconds, seconds, seconds), "a.raw lasts")
    assert bool(found) == said
    if said:
        assert found.startswith(
            f"note: a.raw lasts {time_said(seconds)}, and training clips lasted 500 ms to 1.5 s, usu"
        )
    assert other_lengths(None, lengths(1, 1, 1), "") == other_lengths(lengths(1, 1, 1), None, "") == ""
