"""The record of a search: what is written is read again, nothing is overwritten, and damage is said in a line."""

import json
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from sresnet.cli import main
from sresnet.cli.search import _config_of
from sresnet.errors import UserError
from sresnet.report.document import Table
from sresnet.report.search import search_sections
from sresnet.search.outcome import importances, outcome_of
from sresnet.search.record import read_record, read_records, write_record
from sresnet.train.recipe_file import read_recipe_file
from tests.report.runs import read_page
from tests.search.made_up import LEAKS, search_of

FLAGS = (
    "--model.base-filters 2 --model.num-steps 2 --train.epochs 2 --train.batch-size 32 --data.train-images 100 "
    "--data.validation 0.3 --search.leak 0.5:0.999 --reduction 2 --trials 5"
).split()


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("searched") / "search"
    assert main(["search", "digits", *FLAGS, "--out", str(folder)]) == 0
    return folder


def test_a_record_has_all_that_the_folder_has(searched, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["search", str(searched), "--record", "kept/mine.json"]) == 0
    found, kept = outcome_of(searched), read_record(tmp_path / "kept" / "mine.json")
    assert kept.config == found.config
    assert [each.accuracies for each in kept.trials] == [each.accuracies for each in found.trials]
    assert [(each.values, each.state, each.objectives) for each in kept.trials] == [
        (each.values, each.state, each.objectives) for each in found.trials
    ]
    assert [each.seconds for each in kept.trials] == pytest.approx([each.seconds for each in found.trials], abs=0.05)
    assert importances(kept) == importances(found)
    assert {"revision", "device", "threads", "torch"} <= kept.environment.keys()
    assert not {"data_dir", "cache_dir", "sessions", "from_step"} & kept.environment.keys()
    line = json.loads((tmp_path / "kept" / "mine.json").read_text())["command"]
    assert searched_by(line) == found.config
    assert line.endswith("--trials 5")
    capsys.readouterr()
    texts = {}
    for place in (str(searched), "kept/mine.json"):
        assert main(["search", place]) == 0
        texts[place] = capsys.readouterr().out.replace(place, "PLACE").replace("report-mine.html", "")
    assert len(set(texts.values())) == 1
    assert main(["search", "kept/mine.json", "--best"]) == 0
    (tmp_path / "best.toml").write_text(capsys.readouterr().out)
    assert read_recipe_file(tmp_path / "best.toml") == found.recipe(found.best(1)[0])
    assert main(["report", "kept/mine.json"]) == 0
    text, _ = read_page(tmp_path / "report-mine.html")
    assert f"{found.best(1)[0].objectives[0]:.2f} %" in text


def searched_by(line):
    """What a `sresnet search` line searches."""
    first, verb, name, *words = shlex.split(line.removesuffix(" --data-dir DIR"))
    assert (first, verb) == ("sresnet", "search")
    _, config, _ = _config_of(name, words)
    return config


def test_the_machine_and_versions_of_all_trials(searched, tmp_path):
    folder = tmp_path / "search"
    shutil.copytree(searched, folder)
    path = folder / "trials" / "0" / "environment.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"torch": "1.0"}))
    environment = outcome_of(folder).environment
    assert [each["torch"] for each in environment["sessions"]] == ["1.0", torch.__version__]
    assert environment["torch"] == torch.__version__


def test_a_record_is_read_without_optuna(tmp_path):
    write_record(search_of(LEAKS), tmp_path / "one.json")
    lines = [
        "import sys",
        "sys.modules['optuna'] = None",
        "from pathlib import Path",
        "from sresnet.search.record import read_records",
        "print(len(read_records(Path(sys.argv[1]))['one'].finished))",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines), tmp_path], capture_output=True, text=True)
    assert done.stdout == "7\n", done.stderr


def test_records_of_a_folder_by_name(tmp_path):
    assert read_records(tmp_path / "none") == {}
    for steps in (2, 4):
        write_record(search_of(LEAKS, num_steps=steps), tmp_path / f"t{steps}.json")
    found = read_records(tmp_path)
    assert found == {f"t{steps}": search_of(LEAKS, num_steps=steps) for steps in (2, 4)}


def test_a_record_gives_way_to_more_of_the_same_search_alone(tmp_path):
    path = tmp_path / "kept.json"
    write_record(search_of(LEAKS), path)
    write_record(search_of((*LEAKS, 0.7)), path)
    before = path.read_bytes()
    with pytest.raises(UserError, match="has more trials than there are here"):
        write_record(search_of(LEAKS), path)
    with pytest.raises(UserError, match="is the record of another search"):
        write_record(search_of((*LEAKS, 0.7, 0.6), num_steps=8), path)
    assert path.read_bytes() == before
    write_record(search_of(LEAKS), path, force=True)
    assert read_record(path) == search_of(LEAKS)
    path.write_text('{"a": 1}\n')
    with pytest.raises(UserError, match="was not made by sresnet"):
        write_record(search_of(LEAKS), path)


def test_a_record_never_takes_the_place_of_its_search(tmp_path):
    (tmp_path / "search.json").write_text("{}")
    with pytest.raises(UserError, match="is what the search goes on from"):
        write_record(search_of(LEAKS), tmp_path / "search.json", force=True)
    assert (tmp_path / "search.json").read_text() == "{}"


def damaged(values):
    """(what is damaged, message)."""
    first = values["trials"][1]
    yield values | {"kind": "recipe"}, "is no record of a search"
    yield [values], "is no record of a search"
    yield {name: value for name, value in values.items() if name != "trials"}, "lacks 'trials'"
    yield values | {"trials": [first | {"state": "lost"}]}, "state is 'lost'"
    yield values | {"trials": [first | {"objectives": []}]}, "is finished and has 0 objectives"
    yield values | {"trials": [first | {"values": {}}]}, "lacks model.leak"
    yield values | {"trials": [first | {"accuracies": [[1]]}]}, "accuracies is"
    for odd in ("x", 7, True):
        changed = first | {"values": first["values"] | {"model.leak": odd}}
        yield (
            values | {"trials": [changed]},
            f"model.leak {odd!r}, which was not searched: it is damaged, or was changed",
        )
    yield values | {"trials": [first | {"values": first["values"] | {"seed": 1}}]}, "seed 1, which was not searched"
    yield values | {"trials": [first, first]}, "two trials of one number"
    yield values | {"trials": [first | {"objectives": [1e308]}]}, "an accuracy of 1e+308 %"
    yield values | {"trials": [first | {"accuracies": [[1, -1.0]]}]}, "an accuracy of -1 %"
    yield values | {"config": {}}, "is no description of a search"
    yield values | {"config": values["config"] | {"space": {"model.leak": "1:0"}}}, "is empty"


def test_damage_is_said_in_a_line(tmp_path, capsys):
    path = tmp_path / "kept.json"
    write_record(search_of(LEAKS), path)
    cases = list(damaged(json.loads(path.read_text())))
    for values, message in cases:
        path.write_text(json.dumps(values))
        assert main(["search", str(path)]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--record"], "--record without a file"),
        (["--record", "kept.txt"], "give one file to write"),
        (["--record", "a.json", "b.json"], "give one file to write"),
        (["--record", "--best"], "give one file to write"),
        (["--record", "folder.json"], "is a folder"),
        (["--worst"], "'--worst' is not for a search that is there"),
    ],
)
def test_mistakes_are_said_in_a_line(words, message, searched, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.json").mkdir()
    shutil.copytree(searched, "search")
    assert main(["search", "search", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(("seconds", "shown"), [(3.6, "0.06"), (7200.0, "120.00"), (90_000.0, "1,500.00")])
def test_minutes_are_written_out(seconds, shown):
    found = search_of(LEAKS)
    found = replace(found, trials=tuple(replace(each, seconds=seconds) for each in found.trials))
    blocks = [block for section in search_sections(found, {}) for block in section.walk()]
    (table,) = [block for block in blocks if isinstance(block, Table) and block.name == "all-trials"]
    place = [heading for heading, _ in table.columns].index("minutes")
    assert {row[place] for row in table.texts()} == {shown}
