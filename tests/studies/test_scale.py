"""Studies at smaller scales: what is compared stays, how large it is changes."""

import pytest

from sresnet import UserError
from sresnet.data import EventConfig
from sresnet.models import SResNetConfig, build
from sresnet.studies.paper import STUDIES
from sresnet.studies.scale import SCALES, about, scaled

SMALLER = sorted(SCALES)
SHRUNK = {name: study for name, study in STUDIES.items() if name != "table14"}
"""Studies whose own trainings are made smaller; Table 14 is of other networks, see test_comparison.py."""


def trainings(scale, names=STUDIES):
    found = {}
    for name in names:
        for training in scaled(STUDIES[name], scale).training_runs():
            found[training.key()] = training
    return found


def test_paper_is_the_study_itself():
    assert scaled(STUDIES["table2"], "paper") is STUDIES["table2"]


def test_an_unknown_scale():
    with pytest.raises(UserError, match="scale 'smal' is unknown: did you mean 'small'"):
        scaled(STUDIES["table2"], "smal")


@pytest.mark.parametrize("scale", SMALLER)
def test_numbers_of_the_paper_stay_and_the_note_says_what_changed(scale):
    for study in SHRUNK.values():
        smaller = scaled(study, scale)
        assert [(cell.row, cell.column, cell.paper, cell.quantity) for cell in smaller.cells] == [
            (cell.row, cell.column, cell.paper, cell.quantity) for cell in study.cells
        ]
        assert (smaller.scale, smaller.note) == (scale, study.note)
        assert SCALES[scale].about in about(scale)
    assert about("paper") == ""


@pytest.mark.parametrize("scale", SMALLER)
def test_one_training_stays_one_and_rows_that_differ_stay_different(scale):
    for study in SHRUNK.values():
        smaller = scaled(study, scale)
        pairs = {(old.training.key(), new.training.key()) for old, new in zip(study.cells, smaller.cells, strict=True)}
        assert len({old for old, _ in pairs}) == len(pairs), "a training became two"
        if scale == "small" or study.name not in ("table2", "table16"):  # digits stand for both CIFARs
            assert len({new for _, new in pairs}) == len(pairs), study.name


@pytest.mark.parametrize("scale", SMALLER)
def test_sizes(scale):
    depths = {20: 8, 38: 14, 44: 20}
    for study in SHRUNK.values():
        for old, new in zip(study.cells, scaled(study, scale).cells, strict=True):
            before, after = old.training.recipe.model, new.training.recipe.model
            assert after.num_steps == {50: 5, 20: 2, 1: 1}[before.num_steps]
            assert after.surrogate_height == 1.0
            for same in ("leak", "norm", "neuron", "encoder", "boosting"):
                assert getattr(before, same) == getattr(after, same)
            if isinstance(before, SResNetConfig):
                assert after.depth == depths[before.depth]
                assert after.base_filters * SCALES[scale].filters == before.base_filters
                assert after.connection == before.connection
            if old.num_steps:
                assert new.num_steps == old.num_steps // 10
                assert f"here {new.num_steps} of {after.num_steps} steps" in new.remarks
                assert "here" not in old.remarks


def test_low_res_epochs_and_images():
    for study in SHRUNK.values():
        for old, new in zip(study.cells, scaled(study, "small").cells, strict=True):
            data = new.training.recipe.data
            if isinstance(data, EventConfig):
                assert (data.name, new.training.recipe.train.epochs) == ("cifar10-dvs-sim", 5)
                assert (data.train_images, data.test_images) == (4_000, 2_000)
                assert data.frames.size * 2 == old.training.recipe.data.frames.size
            else:
                assert new.training.recipe.train.epochs == {70: 2, 100: 3, 200: 6}[old.training.recipe.train.epochs]
                assert (data.name, data.train_images) == (old.training.recipe.data.name, 10_000)
                assert data.validation == old.training.recipe.data.validation
            assert new.training.recipe.train.protocol == old.training.recipe.train.protocol


@pytest.mark.parametrize("scale", SMALLER)
def test_simulated_recordings_are_labelled(scale):
    for name in ("table11", "table13", "table14"):
        cells = [
            each for each in scaled(STUDIES[name], scale).cells if isinstance(each.training.recipe.data, EventConfig)
        ]
        assert cells
        assert {each.simulated for each in cells} == {SCALES[scale].events.name}
        assert all(f"here on SIMULATED recordings ({each.simulated})" in each.remarks for each in cells)
    assert not any(cell.simulated for study in STUDIES.values() for cell in study.cells)


def test_how_many_trainings():
    """Three seeds for Tables 2, 3, 5, 15 and 16 at the small scale; digits stand for both CIFARs at the tiny one."""
    assert len(trainings("small", SHRUNK)) == 75
    assert len(trainings("small", ["table2", "table3", "table5", "table15", "table16"])) == 48
    assert len(trainings("tiny", SHRUNK)) == 35
    assert len(trainings("small", ["table14"])) == len(trainings("tiny", ["table14"])) == 19 + 6  # ANNs of conversions


@pytest.mark.parametrize("scale", SMALLER)
def test_every_network_can_be_built(scale):
    for training in trainings(scale).values():
        build(training.recipe.model)
