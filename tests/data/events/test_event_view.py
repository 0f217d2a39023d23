"""Pictures: what is drawn where, in which colour."""

import sys

import made_up_events as made_up
import numpy as np
import pytest

from sresnet.data.events.parts import held
from sresnet.data.events.read import parse_recording
from sresnet.data.events.view import _animate, _draw, save_view
from sresnet.errors import UserError

Image = pytest.importorskip("PIL.Image")


def recording(events):
    return parse_recording(made_up.nmnist(events), "x.bin")


def pixels(image):
    return np.array(image).astype(int)


def test_frames_show_the_events_of_their_part():
    """Two parts: an ON event at the top left in the first, OFF at the bottom right in the second."""
    first, second = map(pixels, _animate(held(recording([(0, 2, 1, True), (999, 30, 32, False)])), frames=2))
    assert first.shape == (238, 238, 3)  # 34 pixels, seven times enlarged
    ground = first[0, 0]
    for picture, (column, row), warm in ((first, (2, 1), True), (second, (30, 32), False)):
        lit = np.argwhere((picture != ground).any(2))
        assert (lit.min(0) // 7).tolist() == (lit.max(0) // 7).tolist() == [row, column]
        red, _, blue = picture[lit[0][0], lit[0][1]]
        assert (red > blue) == warm


def test_a_window_shows_the_beginning_of_a_part():
    events = [(0, 2, 1, True), (400, 5, 5, True), (999, 30, 32, False)]
    for window, shown in ((0, 2), (500, 2), (400, 1)):
        (first, _) = _animate(held(recording(events)), frames=2, window=window)
        assert (pixels(first) != pixels(first)[0, 0]).any(2).sum() == shown * 49


def test_a_long_recording_is_no_blur():
    """Ten events for every pixel: a frame shows about half as many as there are pixels."""
    many = [(t, t * 7 % 34, t * 11 // 34 % 34, True) for t in range(11_560)]
    (first,) = _animate(held(recording(many)), frames=1)
    lit = (pixels(first) != pixels(first).min((0, 1))).any(2).mean()
    assert 0.3 < lit < 0.6


def test_the_page_has_frames_raster_and_curve():
    quiet = recording([(0, 0, 0, True), (1_000_000, 33, 33, False)])
    busy = recording(sorted((t, 5, 16, t % 2 == 0) for t in [0, 1_000_000, *range(500_000, 520_000, 10)]))
    quiet, busy = (pixels(_draw(held(some), frames=4, title="a title")) for some in (quiet, busy))
    assert quiet.shape == busy.shape
    assert quiet.shape[1] == 1200
    assert len(np.unique(busy.reshape(-1, 3), axis=0)) > 20
    # In the middle of the raster, the busy one has a mark at half time and half height, the quiet one nothing.
    middle = 76 + 1100 // 2 + 8
    columns = [picture[:, middle - 10 : middle + 14] for picture in (quiet, busy)]
    assert (columns[1] != columns[0]).any()
    # As many frames as are asked for, eight in a row.
    heights = [_draw(held(recording(made_up.events())), frames=frames).height for frames in (8, 9, 17)]
    assert heights[0] < heights[1] < heights[2]


def test_any_recording_can_be_drawn():
    for events in ([(5, 3, 3, True)], [(5, 3, 3, True)] * 4, made_up.events(3, step=1_000_000)):
        _draw(held(recording(events)), frames=8)
    for name, write in made_up.FILES.items():
        if not name.endswith("4"):
            _draw(held(parse_recording(write(made_up.events(200)), name)), frames=3)


def test_files(tmp_path):
    some = recording(made_up.events(200))
    save_view(some, tmp_path / "a.PNG")
    save_view(some, tmp_path / "a.gif", frames=5)
    with Image.open(tmp_path / "a.PNG") as image:
        assert image.format == "PNG"
    with Image.open(tmp_path / "a.gif") as image:
        assert (image.format, image.n_frames, image.info["loop"]) == ("GIF", 5, 0)
        assert 60 <= image.info["duration"] <= 500


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.jpg", {}, "does not end in .png or .gif"),
        ("a.png", {"frames": 0}, "frames 0 is out of range"),
        ("a.gif", {"frames": 65}, "frames 65 is out of range"),
        ("a.png", {"window": -1}, "window -1 is less than 0"),
        ("none/a.png", {}, "could not be written"),
    ],
)
def test_mistakes(tmp_path, name, options, message):
    with pytest.raises(UserError, match=message):
        save_view(recording(made_up.events()), tmp_path / name, **options)
    assert list(tmp_path.iterdir()) == []


def test_without_pillow(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(UserError, match=r"pip install 'sresnet\[images\]'"):
        _draw(held(recording(made_up.events())))


@pytest.mark.parametrize("title", ["a\nb\x1b[2J", "猫\U0001f989", "caf\udce9", "\u202eabc"])
def test_a_title_of_any_characters(title):
    some = recording(made_up.events())
    drawn = [pixels(_draw(held(some), title=name)) for name in (title, "")]
    assert drawn[0].shape == drawn[1].shape
    assert (drawn[0] != drawn[1]).any(2).any(1)[:40].any()
    assert (drawn[0] == drawn[1])[40:].all()
