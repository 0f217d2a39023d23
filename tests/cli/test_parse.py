"""Flags: what the help says of them, and which values they take."""

import pytest

from sresnet import UserError
from sresnet.cli import main
from sresnet.cli.parse import parse
from sresnet.models import SResNetConfig
from sresnet.nn.neuron import OWN_NEURONS, register_neuron


def test_names_that_may_be_registered_are_listed_as_names(capsys):
    assert main(["info", "sresnet8", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--neuron {lif,if,plif,plif-shared,relu}" in shown
    assert "--norm {bntt,per-step,time-averaged,tdbn,none}" in shown
    assert "STR" not in shown.partition("--norm")[2].partition("--encoder")[0]


def test_a_registered_name_is_taken_and_an_unknown_one_is_not(monkeypatch):
    monkeypatch.setitem(OWN_NEURONS, "mine", None)
    register_neuron("mine", lambda config: None)
    assert parse(SResNetConfig(), ["--neuron", "mine"], "x", "x").neuron == "mine"
    with pytest.raises(UserError, match="neuron 'other' is unknown"):
        parse(SResNetConfig(), ["--neuron", "other"], "x", "x")
