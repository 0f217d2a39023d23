import pytest
import torch

import sresnet
from sresnet.config import to_dict
from sresnet.data.events.clips import ClipSet
from sresnet.data.scaling import Counts
from sresnet.randomness import order
from sresnet.studies.study import Result
from tests.scripts import script

experiment = script("experiments/event_shift")


def clips():
    counts = torch.zeros(1, 2, 2, 32, 32, dtype=torch.int32)
    counts[0, 0, 1, 10, 20] = 4
    return counts


@pytest.mark.parametrize(
    ("change", "row", "column"),
    [
        ("as they are", 10, 20),
        ("4 pixels to the right", 10, 24),
        ("4 pixels to the left", 10, 16),
        ("4 pixels down", 14, 20),
        ("4 pixels up", 6, 20),
    ],
)
def test_a_shift_moves_what_is_seen(change, row, column):
    found = experiment.SHIFTS[change](clips())
    assert found.dtype == torch.int32
    assert found.nonzero().tolist() == [[0, 0, 1, row, column]]


def test_nearer_is_larger_and_turning_keeps_the_distance_from_the_middle():
    square = torch.zeros(1, 1, 2, 32, 32, dtype=torch.int32)
    square[..., 8:24, 8:24] = 1
    assert experiment.SHIFTS["nearer by a quarter"](square).sum() == 2 * 20**2
    assert 2 * 12**2 <= experiment.SHIFTS["farther by a fifth"](square).sum() <= 2 * 13**2
    for degrees in (15, -15):
        turned = experiment.SHIFTS[f"turned by {degrees} degrees"](square)
        assert abs(int(turned.sum()) - 2 * 16**2) < 20
        assert not torch.equal(turned, square)


def test_events_are_left_out_doubled_and_added():
    many = torch.full((1, 4, 2, 32, 32), 2, dtype=torch.int32)
    half = experiment.SHIFTS["half of the events"](many)
    assert half.max() <= 2
    assert abs(int(half.sum()) / int(many.sum()) - 0.5) < 0.02
    assert torch.equal(experiment.SHIFTS["twice the events"](many), 2 * many)
    assert 0.015 < (experiment.SHIFTS["with noise"](many) - many).double().mean() < 0.025


def test_held_out_clips_are_shown_once_for_each_shift():
    held_out = ClipSet(clips=clips().repeat(2, 1, 1, 1, 1), labels=torch.tensor([1, 0]), class_names=("a", "b"))
    found = experiment.as_elsewhere(held_out)
    assert len(found) == 2 * len(experiment.SHIFTS)
    assert found.labels.tolist() == [1, 0] * len(experiment.SHIFTS)


def test_what_is_chosen_by_has_no_test_recordings_and_what_is_tested_holds_nothing_out(monkeypatch):
    assert all(recipe.data.validation and recipe.data.held_out == "last" for recipe in experiment.choices().values())
    for chosen in experiment.SINGLE | experiment.TOGETHER:
        monkeypatch.setattr(experiment, "CHOSEN", chosen)
        assert not any(recipe.data.validation for recipe in experiment.tested().values())


def made_up(row, recipe, seed, loss, *, choice):
    split = {"train": 165, "validation": 85 if choice else 0, "test": 1020 if choice else 406, "name": "by-group"}
    return Result(
        key="",
        config=to_dict(recipe) | {"seed": seed},
        environment={"device": "abacus, 2 cores", "threads": 1, "torch": "2.0"},
        metrics=[{"train_top1": 97.5}],
        result={
            "test_top1": 70.0 + seed,
            "test_loss": loss,
            "validation_top1": 90.0 + seed,
            "split": split | ({"tested_on": "the held-out part, changed"} if choice else {}),
        },
        by_steps=(70.0,),
    )


def test_table_of_made_up_runs(monkeypatch):
    monkeypatch.setattr(experiment, "CHOSEN", "NDA")
    rows = experiment.choices()
    some = {"BioLab, 30 epochs, NDA": 0.5, "BioLab, 60 epochs, crops and EventDrop": 0.25}
    found = {row: [made_up(row, rows[row], seed, loss, choice=True) for seed in (0, 1)] for row, loss in some.items()}
    tested = experiment.tested()
    assert list(tested) == [
        f"S-ResNet{what}, {row}" for row in ("as the recipe", "NDA") for what in ("8, T = 4", "14, T = 8")
    ]
    row = "S-ResNet14, T = 8, NDA"
    lines = experiment.table(found | {row: [made_up(row, tested[row], seed, 1.0, choice=False) for seed in range(3)]})
    best = lines.index("| crops and EventDrop | 60 | 2 | 0.250 ± 0.000 | 70.50 ± 0.71 | 90.50 ± 0.71 |")
    assert lines[best + 1].startswith("| NDA | 30 | 2 | 0.500")
    assert "Chosen: NDA." in lines
    assert "| S-ResNet14, T = 8, NDA | 30 | 3 | 71.00 ± 1.00 | not measured | 165 / 406 |" in lines


def test_norms_of_other_clips_are_shown_with_the_accuracy(monkeypatch):
    monkeypatch.setattr(experiment, "CHOSEN", "NDA")
    row, recipe = "S-ResNet14, T = 8, NDA", experiment.tested()["S-ResNet14, T = 8, NDA"]
    group = [made_up(row, recipe, seed, 1.0, choice=False) for seed in range(3)]
    for seed in range(3):
        group[seed].result["adapted_top1"] = 80.0 + seed
        cell = "81.00 ± 1.00" if seed == 2 else f"8{seed}.00 (1 of them)" if not seed else "80.50 ± 0.71 (2 of them)"
        assert f"| {row} | 30 | 3 | 71.00 ± 1.00 | {cell} | 165 / 406 |" in experiment.table({row: group})


def test_norms_are_those_of_the_clips_and_weights_stay():
    torch.manual_seed(0)
    network = sresnet.create_model("sresnet8", in_channels=2, base_filters=2, num_steps=2, num_classes=3).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    given = torch.randint(0, 9, (70, 2, 2, 16, 16), dtype=torch.int32)
    samples = ClipSet(clips=given, labels=torch.arange(70) % 3, class_names=("a", "b", "c"))
    experiment.with_norms_of(network, samples, Counts())
    after = network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if "running" in name}
    assert not network.training
    # The stem's norm: means over two batches of 32 of what its convolution makes of the clips.
    batches = [given[some].float() for some in order(70, 0, 0).split(32)[:2]]
    seen = [network.layers.stem.conv(batch[:, 1]).mean((0, 2, 3)) for batch in batches]
    torch.testing.assert_close(after["layers.stem.norm.running_mean"][1], sum(seen) / 2)
