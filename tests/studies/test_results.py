import json

import pytest

from sresnet import UserError
from sresnet.studies.results import failures, forget_failures, path_of, read, write, write_failure
from sresnet.studies.study import Result

RESULT = Result(
    key="0123456789ab",
    config={"seed": 1, "model": {"depth": 8}},
    environment={"torch": "2"},
    metrics=({"epoch": 1, "leak": {"a": 0.5}},),
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
