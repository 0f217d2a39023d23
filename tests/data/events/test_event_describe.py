"""Numbers of recordings against plain counting, and of folders with damaged files in them."""

from collections import Counter

import made_up_events as made_up
import pytest

from sresnet.data.events.columns import ReadConfig
from sresnet.data.events.describe import describe_file, describe_set, find_recordings
from sresnet.errors import UserError


def test_facts_of_a_file(tmp_path):
    path = tmp_path / "x.aedat"
    events = [*made_up.events(50), (9000, 9, 8, True), (9001, 9, 8, False), (9002, 9, 8, True)]
    path.write_bytes(made_up.aedat2_davis(events))
    facts = describe_file(path)
    pixels = Counter((x, y) for _, x, y, _ in events)
    assert (facts.name, facts.format, facts.sensor) == (str(path), "AEDAT 2.0", "DAVIS240")
    assert (facts.width, facts.height) == (240, 180)
    assert (facts.events, facts.first, facts.last) == (53, 5, 9002)
    assert facts.seconds == pytest.approx(8997e-6)
    assert facts.rate == pytest.approx(53 / 8997e-6)
    assert facts.on == sum(on for *_, on in events)
    assert facts.active_pixels == len(pixels)
    assert (facts.busiest_pixel, facts.busiest_events) == pixels.most_common(1)[0] == ((9, 8), 3 + pixels[9, 8] - 3)
    assert facts.skipped == {"frame": 106, "imu": 53, "trigger": 53}


def test_a_single_event_has_no_rate(tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(made_up.nmnist([(5, 1, 2, True)]))
    assert (describe_file(path).seconds, describe_file(path).rate) == (0, float("inf"))


@pytest.fixture
def folder(tmp_path):
    for name, events in {
        "a/1.bin": made_up.events(10),
        "a/2.BIN": made_up.events(30),
        "b/3.bin": made_up.events(20),
        "b/.hidden.bin": made_up.events(99),
        ".trash/4.bin": made_up.events(99),
        "b/notes.txt": [],
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(made_up.nmnist(events))
    (tmp_path / "b" / "cut.bin").write_bytes(made_up.nmnist(made_up.events(5))[:-2])
    (tmp_path / "b" / "none.aedat").write_bytes(made_up.DVS128)
    (tmp_path / "davis.aedat").write_bytes(made_up.aedat2_davis(made_up.events(7)))
    return tmp_path


def test_facts_of_a_folder(folder):
    facts = describe_set(find_recordings(folder)[0])
    assert facts.by_class == {"a": 2, "b": 1, ".": 1}
    assert facts.sensors == {"N-MNIST, 34x34": 3, "DAVIS240, 240x180": 1}
    assert (facts.recordings, facts.events) == (4, (7, 10, 20, 30))
    assert facts.seconds == pytest.approx((600e-6, 900e-6, 1900e-6, 2900e-6))
    assert facts.skipped == {"frame": 14, "imu": 7, "trigger": 7}
    assert [
        str(folder / "b" / name) in reason
        for name, reason in zip(("cut.bin", "none.aedat"), facts.unreadable, strict=True)
    ]
    facts = describe_set(find_recordings(folder)[0], ReadConfig(damaged="skip"))
    assert facts.events == (4, 7, 10, 20, 30)
    assert facts.skipped["incomplete record"] == 1
    assert len(facts.unreadable) == 1


def test_a_folder_without_recordings(tmp_path):
    (tmp_path / "a.txt").write_text("nothing")
    with pytest.raises(UserError, match="holds no recordings"):
        find_recordings(tmp_path)
