import json
from dataclasses import asdict, replace

import pytest

from sresnet import UserError
from sresnet.studies.measures import stripes_of
from sresnet.studies.results import failures, forget_failures, path_of, read, write, write_failure
from sresnet.studies.study import Result

RESULT = Result(
    key="0123456789ab",
    config={"seed": 1, "model": {"depth": 8}},
    environment={"torch": "2"},
    metrics=({"epoch": 1, "step": 5, "leak": {"a": 0.5}},),
    result={"test_top1": 51.25},
    by_steps=(10.0, 51.25),
    activity={"spikes": 3.5},
)


def test_what_is_written_is_read(tmp_path):
    write(tmp_path / "new", RESULT)
    (found,) = read(tmp_path / "new").values()
    assert (found.key, found.config, found.result, found.activity) == (
        RESULT.key,
        RESULT.config,
        RESULT.result,
        RESULT.activity,
    )
    assert list(found.metrics) == list(RESULT.metrics)
    assert found.value("last-epoch") == 51.25
    assert found.value("last-epoch", num_steps=1) == 10.0
    assert found.value("leak") == 0.5
    assert found.value("best-test-epoch") is None


def test_no_folder_holds_nothing(tmp_path):
    assert read(tmp_path / "none") == {}
    assert failures(tmp_path / "none") == {}


def test_a_result_takes_back_a_failure(tmp_path):
    write_failure(tmp_path, RESULT.key, "row", "the disk is full")
    write_failure(tmp_path, "ffffffffffff", "row", "no such luck")
    assert failures(tmp_path) == {RESULT.key: "the disk is full", "ffffffffffff": "no such luck"}
    assert read(tmp_path) == {}
    write(tmp_path, RESULT)
    forget_failures(tmp_path, ["never failed"])
    assert failures(tmp_path) == {"ffffffffffff": "no such luck"}


@pytest.mark.parametrize("content", ["[]", "null", '{"reason": ["late"]}', "{"])
def test_damaged_notes_of_a_failure(tmp_path, content):
    (tmp_path / "0123456789ab.failed.json").write_text(content)
    with pytest.raises(UserError, match="0123456789ab.failed.json"):
        failures(tmp_path)


@pytest.mark.parametrize("steps", [None, [4], "4", 0])
def test_what_joins_send_does_not_need_the_recipe(steps):
    """The steps are those that were counted, whatever a damaged recipe says."""
    names = ("stage1_block1.neuron1", "stage1_block1.neuron2")
    result = replace(
        RESULT,
        config={"model": {"connection": "s2s", "num_steps": steps}},
        activity={"layers": [layer(name=name, spikes=64.0) for name in names]},
    )
    assert stripes_of(result) == [0.0]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "cannot be read"),
        ("[]", "0123456789ab.json"),
        (json.dumps({"key": "0123456789ab", "config": {}, "colour": "red"}), "colour"),
        (json.dumps({"key": "other", "config": {}, "environment": {}, "metrics": [], "result": {}}), "other"),
    ],
)
def test_files_that_are_none(tmp_path, content, complaint):
    path_of(tmp_path, RESULT.key).write_text(content)
    with pytest.raises(UserError, match=complaint) as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


def layer(**other):
    return {"name": "stem.neuron", "shape": [2, 8, 8], "active": [1.0, 2.0], "gamma": None, "spikes": 3.5} | other


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"result": {}}, "result lacks 'test_top1'"),
        ({"result": {"test_top1": 50.0, "split": {"test": -1}}}, "result: split: test is -1"),
        ({"metrics": [{"epoch": 1, "step": 5, "train_top1": [1]}]}, "metrics 1: train_top1 is not a number"),
        ({"config": {"data": ["digits"]}}, "config: data is"),
        ({"config": {"seed": [1]}}, "config: seed is"),
        ({"activity": {"layers": {"stem": 1}}}, "activity: layers is"),
        ({"activity": {"layers": [layer(shape=[2, 0, 8])]}}, "layer 1: shape is \\[2, 0, 8\\]"),
        ({"activity": {"layers": [layer(shape=[])]}}, "layer 1: shape is"),
        ({"activity": {"layers": [layer(active=[])]}}, "layer 1: active has 0 time steps, not 2"),
        ({"activity": {"layers": [layer(active=[])]}, "by_steps": []}, "activity is of no time step"),
        ({"activity": {"layers": [layer(active=["1", 2.0])]}}, "layer 1: active is"),
        ({"activity": {"layers": [layer(), layer(active=[1.0])]}}, "layer 2: active has 1 time steps, not 2"),
        ({"activity": {"layers": [layer(gamma=[1.0])]}}, "layer 1: gamma has 1 time steps, not 2"),
        ({"activity": {"layers": [layer(active=[1e308, 1.0])]}}, "layer 1 holds a number above 3.5e\\+38"),
        ({"activity": {"gradients": [{"block": "stem"}]}}, "gradient 1 lacks 'norm'"),
    ],
)
def test_what_tables_and_figures_read_is_checked(tmp_path, changed, complaint):
    path_of(tmp_path, RESULT.key).write_text(json.dumps(asdict(RESULT) | {"activity": {"layers": [layer()]}}))
    assert len(read(tmp_path)) == 1
    path_of(tmp_path, RESULT.key).write_text(json.dumps(asdict(RESULT) | changed))
    with pytest.raises(UserError, match=complaint):
        read(tmp_path)
