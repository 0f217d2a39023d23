"""Flags: what the help says of them, and which values they take."""

import pytest

from sresnet import UserError
from sresnet.cli import main
from sresnet.cli.parse import parse
from sresnet.models import SResNetConfig
from sresnet.nn.neuron import OWN_NEURONS, register_neuron
from sresnet.train.recipe import TrainConfig


def test_names_that_may_be_registered_are_listed_as_names(capsys):
    assert main(["info", "sresnet8", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--neuron {lif,if,plif,plif-shared,relu,few-spikes,sharpened}" in shown
    assert "--norm {bntt,per-step,time-averaged,tdbn,none}" in shown
    assert "STR" not in shown.partition("--norm")[2].partition("--encoder")[0]


def test_a_registered_name_is_taken_and_an_unknown_one_is_not(monkeypatch):
    monkeypatch.setitem(OWN_NEURONS, "mine", None)
    register_neuron("mine", lambda config: None)
    assert parse(SResNetConfig(), ["--neuron", "mine"], "x", "x").neuron == "mine"
    with pytest.raises(UserError, match="neuron 'other' is unknown"):
        parse(SResNetConfig(), ["--neuron", "other"], "x", "x")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("--train.time-segments x", "--train.time-segments 'x' is neither whole numbers nor auto: see"),
        ("--train.time-segments 2 x", "--train.time-segments '2 x' is neither"),
        ("--train.time-segments auto 3", "--train.time-segments 'auto 3' is neither"),
        ("--train.time-segments 1.5", "'1.5' is neither"),
        ("--train.time-segments=", "'' is neither"),
        ("--train.time-segments", "--train.time-segments has no value, neither whole numbers nor auto"),
        ("--train.time-segments 0", "time_segments has 0, which is below 1: 1 is all time steps at once"),
        ("--train.time-segments 2 -1", "time_segments has -1, which is below 1"),
        ("--train.time-segments 2 --model.norm tdbn", "time_segments 2: a norm of this network takes"),
        ("--train.time-segments auto --model.norm tdbn", "time_segments auto: a norm of this network takes"),
        ("--train.progressive-epochs 1 x", "--train.progressive-epochs 'x' is not a whole number: see"),
        ("--train.progressive-epochs -1", "progressive_epochs has -1, which is below 0"),
        ("--train.milestones x", "--train.milestones 'x' is not a number"),
        ("--train.milestones 0.5 2", "milestones has 2, no fraction of training"),
        ("--train.epochs 1.5", "--train.epochs '1.5' is not a whole number: see sresnet train digits --help"),
        ("--train.ema x", "--train.ema 'x' is not a number"),
        ("--train.step-memory 0", "step_memory 0 is not above 0"),
    ],
)
def test_what_is_wrong_with_a_number_is_said_in_plain_words(words, complaint, capsys):
    assert main(["train", "digits", *words.split()]) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert said.count("\n") == 1
    assert not any(word in said for word in ("(", "[", "tuple", "typing", "Literal", "invalid literal", "arguments"))


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e31"])
@pytest.mark.parametrize(
    ("verb", "option"),
    [
        ("train event-folder", "data.windows.seconds"),
        ("train event-folder", "data.windows.stride"),
        ("data info x", "windows.seconds"),
        ("data prepare nmnist", "data.filters.background_ms"),
        ("train digits", "train.learning_rate"),
        ("train digits", "model.leak"),
    ],
)
def test_what_is_no_number_is_said_of_the_option(verb, option, number, capsys):
    assert main([*verb.split(), f"--{option.replace('_', '-')}={number}"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"sresnet: {option} is {float(number)}: expected a number of at most 1e+30"), said


def test_numbers_and_a_name_are_taken(capsys):
    def given(*words):
        return parse(TrainConfig(), list(words), "x", "x")

    assert given("--time-segments", "auto").time_segments == "auto"
    assert given("--time-segments", "4", "2").time_segments == (4, 2)
    assert given("--milestones").milestones == ()
    assert given("--milestones", "0.5", "1").milestones == (0.5, 1.0)
    assert given().time_segments == ()
    with pytest.raises(SystemExit):
        given("--help")
    shown = capsys.readouterr().out
    assert "--time-segments {[INT [INT ...]]}|{auto}" in shown
    assert "--epochs INT" in shown
