"""The worker of the fuzz tests notices what it is there for."""

import os
import signal

import pytest

from sresnet.errors import UserError
from tests.bounded import Outcome, check, outcomes


def case(argument):
    if argument == "refuse":
        raise UserError("no such thing: choose another")
    if argument == "fail":
        raise KeyError("fault of ours")
    if argument == "die":
        os.kill(os.getpid(), signal.SIGSEGV)
    if argument == "memory":
        bytearray(3 << 29)
    while argument == "time":
        pass
    return argument


def test_every_outcome_is_told_and_the_next_case_goes_on():
    found = outcomes(case, ["fine", "refuse", "fail", "die", "fine", "memory", "time", "fine"], cpu_seconds=1)
    assert [kind for kind, _ in found] == ["valid", "refused", *["fault"] * 2, "valid", *["fault"] * 2, "valid"]
    assert found[1].text == "no such thing: choose another"
    assert "KeyError" in found[2].text
    assert found[3].text == "the worker ended: SIGSEGV"
    assert "MemoryError" in found[5].text
    assert found[6].text == "the worker ended: SIGXCPU"


@pytest.mark.parametrize(
    "found",
    [
        [Outcome("valid", ""), Outcome("refused", "no"), Outcome("fault", "KeyError")],
        [Outcome("valid", ""), Outcome("refused", "no\nyes")],
        [Outcome("valid", ""), Outcome("refused", "n" * 2001)],
        [Outcome("valid", "")],
        [Outcome("refused", "no")],
    ],
    ids=["fault", "lines", "long", "none refused", "none valid"],
)
def test_check_fails(found):
    with pytest.raises(AssertionError):
        check(found)
    check([Outcome("valid", ""), Outcome("refused", "no")])
