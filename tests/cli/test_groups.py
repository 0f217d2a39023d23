"""`sresnet train --every-group`: a training for each group, tested on it; the same command resumes."""

import json
from statistics import fmean, stdev

import pytest

from sresnet.cli import main
from sresnet.train.groups import folder_of, write_groups
from tests.data.events.made_up_sets import aedat2, put

TINY = "--model.base-filters 2 --model.num-steps 2 --model.depth 8 --train.epochs 1 --train.batch-size 8".split()
GROUPS = ("anna", "ben", "cleo / 2")


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Of three people, whose recordings a list names."""
    monkeypatch.chdir(tmp_path)
    lines = ["file,label,group"]
    for number, group in enumerate(GROUPS):
        for label, name in enumerate(("cup", "pen")):
            for place in range(2 + number):
                file = put(
                    tmp_path / "data" / f"{number}{name}{place}.aedat", aedat2(seed=100 * number + 10 * label + place)
                )
                lines.append(f"{file.name},{name},{group}")
    (tmp_path / "data" / "list.csv").write_text("\n".join(lines))
    place = ["--data-dir", "data/list.csv", "--cache-dir", "cache", "--out", "runs"]
    return ["train", "event-folder", *TINY, *place, "--every-group"]


def test_each_group_is_tested_on_once(command, tmp_path, capsys):
    assert main([*command, "--json"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert tuple(found["groups"]) == GROUPS
    accuracies = []
    for number, group in enumerate(GROUPS):
        result = json.loads((tmp_path / "runs" / folder_of(group) / "result.json").read_text())
        assert result["split"]["test_group"] == group
        assert result["split"]["recordings"] == {
            "train": 18 - 2 * (2 + number),
            "validation": 0,
            "test": 2 * (2 + number),
        }
        assert found["groups"][group] == {"test_top1": result["test_top1"], "test_clips": 2 * (2 + number)}
        accuracies.append(result["test_top1"])
    assert found["mean_top1"] == pytest.approx(fmean(accuracies))
    assert found["deviation_top1"] == pytest.approx(stdev(accuracies))
    assert f"mean of 3 groups: {fmean(accuracies):.2f} ± {stdev(accuracies):.2f} %" in said.err
    kept = json.loads((tmp_path / "runs" / "groups.json").read_text())
    assert kept == {name: found[name] for name in ("groups", "mean_top1", "deviation_top1")}
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == sorted(
        [*map(folder_of, GROUPS), "groups.json"]
    )


def test_the_same_command_resumes(command, tmp_path, capsys):
    command = [*command, "--train.epochs", "3"]
    stopped, runs = 0, tmp_path / "runs"
    while not (runs / "groups.json").exists():
        assert main([*command, "--max-minutes", "0", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        stopped += found["state"] == "stopped"
        assert stopped < 20
    assert stopped >= 3
    pieces = {group: (runs / folder_of(group) / "weights.safetensors").read_bytes() for group in GROUPS}
    runs.rename(tmp_path / "pieces")
    assert main(command) == 0
    assert pieces == {group: (runs / folder_of(group) / "weights.safetensors").read_bytes() for group in GROUPS}


def test_what_has_no_groups_is_refused(command, tmp_path, capsys):
    assert main(["train", "digits", "--every-group"]) == 2
    assert "every-group trains on event recordings, which have groups" in capsys.readouterr().err
    path = tmp_path / "data" / "list.csv"
    path.write_text(path.read_text().replace("ben", "anna").replace("cleo / 2", "anna"))
    assert main(command) == 2
    assert "has one group, 'anna': every-group needs two at least" in capsys.readouterr().err
    path.write_text(path.read_text().replace("group", "person"))
    assert main(command) == 2
    assert "has no column group" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_groups_that_cannot_be_tested_on_are_refused_before_a_training(command, tmp_path, capsys):
    path = tmp_path / "data" / "list.csv"
    rows = path.read_text()
    path.write_text(rows.replace("cup,ben", "mug,ben").replace("pen,ben", "jug,ben"))
    assert main(command) == 2
    said = "group 'ben' has no class that another group has, only jug, mug, so that it cannot be tested on"
    assert said in capsys.readouterr().err
    alone = [*(word for word in command if word != "--every-group"), "--data.split", "by-group", "--data.test-group"]
    assert main([*alone, "ben"]) == 2
    assert "leaves nothing to test on: the classes of its recordings, jug, mug, are not" in capsys.readouterr().err
    path.write_text(rows.replace("pen,anna", "cup,anna").replace("pen,ben", "cup,ben"))
    assert main(command) == 2
    assert "without group 'cleo / 2' there is one class to train on, 'cup'" in capsys.readouterr().err
    assert main([*alone, "cleo / 2"]) == 2
    assert "leaves one class to train on, 'cup': two at least can be told apart" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_names_of_folders():
    assert folder_of("groups.json") != "groups.json"  # the file of accuracies beside them
    assert [folder_of(group) for group in ("anna", "session_B-1.2")] == ["anna", "session_B-1.2"]
    odd = [folder_of(group) for group in ("cleo / 2", "cleo \\ 2", "..", "../x", "")]
    assert len(set(odd)) == 5
    assert all(
        name.replace("-", "").replace("_", "").replace(".", "").isalnum() and ".." not in name[:2] for name in odd
    )


def test_mean_and_deviation_over_groups(tmp_path):
    for group, accuracy in zip(GROUPS, (60.0, 90.0, 75.0), strict=True):
        result = {"test_top1": accuracy, "test_images": 4, "split": {"test": 4}}
        put(tmp_path / folder_of(group) / "result.json", json.dumps(result).encode())
    found = write_groups(tmp_path, GROUPS)
    assert (found["mean_top1"], found["deviation_top1"]) == (75.0, 15.0)
    assert json.loads((tmp_path / "groups.json").read_text()) == found
