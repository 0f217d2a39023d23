import copy
import json
import math
import re

import pytest

from sresnet import UserError
from sresnet.cli import main, trained
from sresnet.report.records import records_of
from sresnet.train import record
from sresnet.train.loop import train
from tests.train.test_loop import CPU, SPLITS, TINY, changed

ODD = (None, True, -1, 10**18, 1.5, "", "text", [], ["a", 1], {}, {"a": {"b": None}})
"""What a damaged file may hold in the place of anything."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run."""
    return train(changed(TINY, epochs=2), SPLITS, tmp_path_factory.mktemp("record") / "run", device=CPU).folder


def places(value, path=()):
    """The path of every value within a value of JSON."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from places(each, (*path, key))


def replaced(value, path, new):
    """A copy of a value of JSON with another one at a path; "gone" takes away what was there."""
    value = copy.deepcopy(value)
    if not path:
        return new
    at = value
    for key in path[:-1]:
        at = at[key]
    if isinstance(new, str) and new == "gone":
        del at[path[-1]]
    else:
        at[path[-1]] = new
    return value


@pytest.mark.parametrize("name", ["config.json", "environment.json", "data.json", "result.json", "metrics.jsonl"])
def test_damaged_json_of_a_run_is_read_or_refused(run, name):
    whole = (run / name).read_text()
    content = json.loads(whole.splitlines()[0] if name.endswith("l") else whole)
    refused = 0
    try:
        for path in places(content):
            for new in (*ODD, "gone"):
                (run / name).write_text(json.dumps(replaced(content, path, new)) + "\n")
                try:
                    records_of(run)
                    if name == "data.json":
                        trained(str(run), CPU)
                except UserError:
                    refused += 1
    finally:
        (run / name).write_text(whole)
    assert refused


def test_data_that_do_not_fit_the_network_are_refused(run):
    about, path = record.read_json(run / "data.json"), run / "data.json"
    wrong = {
        "names 3 classes in data.json, and its network has 4": {"class_names": ["a", "b", "c"]},
        "image_size is [8]": {"image_size": [8]},
        "image_size is [8, 0]": {"image_size": [8, 0]},
        "image_size is [8, 1000000]": {"image_size": [8, 10**6]},
        "names 2 channels in data.json, and its network has 1": {"mean": [0.1, 0.2], "std": [0.1, 0.2]},
        "not as many means": {"mean": [0.1, 0.2]},
        "std is [0.0]": {"std": [0.0]},
        "no scaling": {"mean": None},
        "scale is -1": {"scale": -1},
    }
    try:
        for fault, fields in wrong.items():
            record.write_json(path, about | fields)
            with pytest.raises(UserError, match=re.escape(fault)):
                trained(str(run), CPU)
    finally:
        record.write_json(path, about)
    assert record.read_about(run) == about


def test_damaged_lines_of_metrics_are_named(run, capsys):
    path = run / "metrics.jsonl"
    whole = path.read_text()
    try:
        for bad in ("{", '{"epoch": 2}', '{"epoch": 2, "step": 10, "train_loss": NaN}', "[]", ""):
            path.write_text(whole.splitlines()[0] + "\n" + bad + "\n")
            assert main(["report", str(run), "-o", str(run.parent / "page.html")]) == 2
            assert "metrics.jsonl, line 2" in capsys.readouterr().err
    finally:
        path.write_text(whole)


def test_no_nan_is_written_to_metrics(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        record.append_metrics(tmp_path, {"epoch": 1, "train_loss": math.nan})
    assert not (tmp_path / "metrics.jsonl").exists()
