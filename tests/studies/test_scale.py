"""Studies at smaller scales: what is compared stays, how large it is changes."""

import dataclasses

import pytest

from sresnet import UserError
from sresnet.cli import main
from sresnet.data import DataConfig, EventConfig
from sresnet.models import SResNetConfig, build
from sresnet.studies import scale as scales
from sresnet.studies.cells import AT_THRESHOLD
from sresnet.studies.paper import STUDIES
from sresnet.studies.results import read
from sresnet.studies.scale import MEDIUM, SCALES, about, scaled

SMALLER = sorted(SCALES)
SHRUNK = {name: study for name, study in STUDIES.items() if name != "table14"}
"""Studies whose own trainings are made smaller; Table 14 is of other networks, see test_comparison.py."""


def pairs_of(study, scale):
    """(cell, the same at a scale) of each; rows that the scale adds are left out."""
    kept = [cell for cell in scaled(study, scale).cells if not cell.row.endswith(AT_THRESHOLD)]
    return list(zip(study.cells, kept, strict=True))


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
        for old, new in pairs_of(study, scale):
            assert (old.row, old.column, old.paper, old.quantity) == (new.row, new.column, new.paper, new.quantity)
        assert (smaller.scale, smaller.note) == (scale, study.note)
        assert SCALES[scale].about in about(scale)
    assert about("paper") == ""


@pytest.mark.parametrize("scale", SMALLER)
def test_one_training_stays_one_and_rows_that_differ_stay_different(scale):
    for study in SHRUNK.values():
        pairs = {(old.training.key(), new.training.key()) for old, new in pairs_of(study, scale)}
        assert len({old for old, _ in pairs}) == len(pairs), "a training became two"
        if scale != "tiny" or study.name not in ("table2", "table16"):  # digits stand for both CIFARs
            assert len({new for _, new in pairs}) == len(pairs), study.name


@pytest.mark.parametrize("scale", SMALLER)
def test_sizes(scale):
    medium = scale == "medium"
    depths = {20: 20, 38: 38, 44: 44} if medium else {20: 8, 38: 14, 44: 20}
    steps = {50: 8, 40: 6, 30: 5, 20: 3, 10: 2, 1: 1} if medium else {50: 5, 40: 4, 30: 3, 20: 2, 10: 1, 1: 1}
    for study in SHRUNK.values():
        for old, new in pairs_of(study, scale):
            before, after = old.training.recipe.model, new.training.recipe.model
            assert after.num_steps == steps[before.num_steps]
            assert after.surrogate_height == 1.0
            for same in ("leak", "norm", "neuron", "encoder", "boosting"):
                assert getattr(before, same) == getattr(after, same)
            if isinstance(before, SResNetConfig):
                assert after.depth == depths[before.depth]
                if medium:
                    wide = before.base_filters == 32 and study.name in ("table6", "table7", "table15")
                    assert after.base_filters == (32 if wide else 16)
                else:
                    assert after.base_filters * SCALES[scale].filters == before.base_filters
                assert after.connection == before.connection
            if old.num_steps:
                assert new.num_steps == steps[old.num_steps]
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


def test_medium_trains_few_networks_long_enough():
    """Equal epochs make one network of what the paper trains for 70, 100 and 200, with 16 filters and 32."""
    whole = trainings("medium", MEDIUM)
    assert len(whole) == 26
    assert len({key for key, training in whole.items() if training.recipe.seed == 0}) == 21
    for training in whole.values():
        recipe = training.recipe
        assert (recipe.train.epochs, recipe.train.muon_lr, recipe.train.precision) == (11, 0.02, "bf16")
        assert (recipe.train.progressive_epochs, recipe.model.stem) == ((), "c3s2")
        assert (recipe.data.train_images, recipe.data.validation) == (0, 0.0)
        assert (recipe.train.protocol == "best-test-epoch") == recipe.model.boosting

    def one(study, row):
        return {cell.training.key() for cell in scaled(STUDIES[study], "medium").cells if cell.row == row}

    (raw,) = one("table4", "S-ResNet38 Raw image")
    assert (
        one("table5", "S-ResNet38 BN TT") == one("table8", "S-ResNet38 LIF") == {raw} < one("table2", "S-ResNet38 S2S")
    )


def test_medium_runs_s2m_with_both_spike_conditions():
    for name, count in (("table2", 2), ("figure3", 1)):
        cells = {cell.key: cell for cell in scaled(STUDIES[name], "medium").cells}
        added = [cell for cell in cells.values() if cell.row.endswith(AT_THRESHOLD)]
        assert len(added) == count
        for cell in added:
            other = cells[cell.row.removesuffix(AT_THRESHOLD), cell.column]
            assert (cell.condition, other.condition) == ("u >= theta", "u > theta")
            assert (cell.paper, other.paper) == (other.paper, cell.paper)
            assert cell.training.key() != other.training.key()
            assert "spikes where u >= theta" in cell.remarks
    assert all(not training.recipe.model.fires_at_threshold for training in trainings("small", SHRUNK).values())


def test_a_tiny_run_of_medium(tmp_path, monkeypatch, capsys):
    """The same code on networks of eight layers and digits."""
    tiny = dataclasses.replace(
        SCALES["medium"],
        data=DataConfig(name="digits", flip=False, crop_padding=1),
        **{"blocks": 6, "most_filters": 2, "num_steps": 2, "stem": "c3", "epochs": 1, "train_images": 100},
    )
    monkeypatch.setitem(scales.SCALES, "medium", tiny)
    folders = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "kept")]
    assert main(["study", "table2", "--scale", "medium", *folders]) == 0
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    found = read(tmp_path / "kept").values()
    assert sorted(
        (each.config["model"]["connection"], each.config["model"].get("fires_at_threshold", False)) for each in found
    ) == [
        ("s2m", False),
        ("s2m", True),
        ("s2s", False),
        ("v2v", False),
    ]
    assert all(each.config["train"]["muon_lr"] == 0.02 for each in found)
    rows = [line for line in shown if line.startswith("S-ResNet38 S2M")]
    assert [line.endswith(" 1") and "not run" not in line for line in rows] == [True] * 4
    assert sum(AT_THRESHOLD in line for line in rows) == 2


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
