"""The paper's tables as data: every number is there, equal recipes are one training, and contradictions are named."""

from dataclasses import replace

import pytest

from sresnet.data import DataConfig
from sresnet.models import build, num_parameters
from sresnet.studies.paper import LEAKS, STUDIES
from sresnet.studies.rows import _values, rows_of
from sresnet.studies.study import Cell, Result, Training

# Typed off the paper's text, row by row.
NUMBERS = {
    "table2": [89.27, 68.64, 94.01, 74.54, 93.83, 73.79],
    "table3": [90.89, 91.97, 91.96],
    "table4": [64.96, 69.03],
    "table5": [74.54, 70.82],
    "table6": [639_760, 68.71, 697_360, 64.60, 2_399_776, 74.46, 2_514_976, 73.21],
    "table7": [634_000, 91.97, 639_760, 92.00, 2_388_256, 92.66, 2_399_776, 93.77],
    "table8": [68.71, 64.93],
    "table9": [0.889, 0.889, 0.986],
    "table10": [73.21, 72.44],
    "table11": [63.3, 70.4, 65.5, 69.8],
    "table12": [91.97, 92.44, 93.77, 93.59],
    "table13": [71.80, 72.98, 72.51],
    "table14": [94.14, 74.65, 72.98],
    "table15": [92.33, 93.56, 91.97, 92.66],
    "table16": [73.40, 94.10, 73.14, 93.96, 71.75, 93.61, 65.78, 91.93, 67.70, 91.28, 15.15, 63.86, 62.28, 90.45],
    "table17": [91.93, 91.28, 0.995, 92.8],
}


def cell(study: str, row: str, column: str = "") -> Cell:
    (found,) = [each for each in STUDIES[study].cells if each.row == row and column in f"{each.column} "]
    return found


def test_every_number_of_the_tables_is_there_in_order():
    assert {name: [each.paper for each in STUDIES[name].cells] for name in NUMBERS} == NUMBERS
    assert set(STUDIES) == {*NUMBERS, "figure3", "depth-none"}
    assert all(study.name == name for name, study in STUDIES.items())


def test_rows_and_columns_name_one_cell():
    for study in STUDIES.values():
        names = [(each.row, each.column) for each in study.cells]
        assert len(set(names)) == len(names), study.name


def test_the_parameters_are_exactly_the_papers():
    cells = [each for study in STUDIES.values() for each in study.cells if each.quantity == "parameters"]
    assert len(cells) == 8
    for each in cells:
        assert num_parameters(build(each.training.recipe.model)) == each.paper
        assert _values(each, 1, {}) == (each.paper,)
        assert each.training_runs() == ()


@pytest.mark.parametrize(
    "same",
    [
        [("table2", "S-ResNet38 S2S", "100"), ("table5", "S-ResNet38 BN TT"), ("table6", "S-ResNet38 wider", "Acc")],
        [("table2", "S-ResNet38 S2S", "100"), ("table14", "Ours S-ResNet38", "100"), ("figure3", "S-ResNet38 S2S")],
        [
            ("table2", "S-ResNet38 S2S", "-10 "),
            ("table7", "S-ResNet38 wider", "Acc"),
            ("table15", "S-ResNet38 wider (SNN)"),
        ],
        [("table3", "S-ResNet38"), ("table15", "S-ResNet38 (SNN)")],
        [("table6", "S-ResNet38", "Acc"), ("table8", "S-ResNet38 LIF")],
        [("table7", "S-ResNet38", "Acc"), ("table12", "S-ResNet38, no pre-training")],
        [
            ("table6", "S-ResNet38 wider + boosting", "Acc"),
            ("table10", "S-ResNet38 wider + Boost LIF"),
            ("table16", "50 steps of 50 trained", "100"),
            ("table16", "10 steps of 50 trained", "100"),
        ],
        [
            ("table7", "S-ResNet38 wider + boosting", "Acc"),
            ("table12", "S-ResNet38 wider + boosting, no pre-training"),
            ("table14", "Ours S-ResNet38", "-10 "),
            ("table16", "20 steps of 50 trained", "-10 "),
            ("table17", "leak 0.874, 20 steps of 50 trained"),
        ],
        [("table16", "20 steps of 20 trained", "-10 "), ("table17", "leak 0.874, 20 steps of 20 trained")],
        [("table9", "Learned through PLIF"), ("table10", "S-ResNet38 wider + Boost Single PLIF")],
        [("table13", "S-ResNet38 c32k3s2, 64x64"), ("table14", "Ours S-ResNet38", "DVS")],
        [
            ("table17", "learned leak, 20 steps of 20 trained", "Leak"),
            ("table17", "learned leak, 20 steps of 20 trained", "Acc"),
        ],
    ],
)
def test_rows_that_are_one_network_are_one_training(same):
    assert len({cell(*each).training.key() for each in same}) == 1


def test_all_trainings():
    """43 different ones for the whole paper; a changed default would add or merge some."""
    keys = [{training.key() for training in study.training_runs()} for study in STUDIES.values()]
    assert len(set().union(*keys)) == 43
    assert sum(map(len, keys)) == 68


def test_best_test_epochs_are_reported_where_they_are_read():
    for study in STUDIES.values():
        for each in study.cells:
            if each.quantity == "best-test-epoch":
                assert each.training.recipe.train.protocol == "best-test-epoch"
    assert cell("table2", "S-ResNet38 S2S", "100").training.recipe.train.protocol == "best-test-epoch"
    assert cell("table2", "S-ResNet38 S2M", "100").training.recipe.train.protocol == "last-epoch"


def test_pre_training_comes_first_and_is_a_training_of_the_tables():
    for name in ("table11", "table12", "table13"):
        order = [training.key() for training in STUDIES[name].training_runs()]
        for training in STUDIES[name].training_runs():
            if training.start:
                assert order.index(training.start.key()) < order.index(training.key())
    starts = {each.training.start.key() for each in STUDIES["table11"].cells if each.training.start}
    assert starts == {
        cell("table6", row, "Acc").training.key() for row in ("S-ResNet38", "S-ResNet38 wider + boosting")
    }
    assert (
        cell("table13", "S-ResNet38, 32x32").training.start.key() == cell("table5", "S-ResNet38 BN TT").training.key()
    )


def test_contradictions_have_a_note_and_one_target():
    for name, row, target in (("table7", "S-ResNet38 wider", 94.01), ("table15", "S-ResNet38 wider (SNN)", 94.01)):
        assert cell(name, row, "Acc").target == target
        assert "94.01" in cell(name, row, "Acc").note
    assert cell("table6", "S-ResNet38 wider", "Acc").target == 74.54
    for name, row, word in (
        ("table3", "S-ResNet38", "91.97"),
        ("table14", "Ours S-ResNet38", "boosting"),
        ("table13", "S-ResNet38 c32k3s2, 64x64", "Table 14"),
    ):
        column = "CIFAR-100" if name == "table14" else ""
        assert word in cell(name, row, column).note


def test_the_best_leak_is_chosen_on_held_out_images():
    search = cell("table9", "Hyper-parameter search")
    assert [each.recipe.model.leak for each in search.candidates] == list(LEAKS)
    assert all(each.recipe.data.validation == 0.1 for each in search.candidates)
    scores = dict(zip(LEAKS, (40.0, 60.0, 60.0, 50.0, 10.0), strict=True))
    results = {
        each.key(): Result(
            key=each.key(),
            config={},
            environment={},
            metrics=[],
            result={"validation_top1": scores[each.recipe.model.leak]},
        )
        for each in search.candidates
    }
    assert _values(search, 1, results) == (LEAKS[1],)
    results.pop(search.candidates[4].key())
    assert _values(search, 1, results) == ()


def test_a_leak_is_of_the_epoch_of_the_accuracy_beside_it():
    """Table 17 has the accuracy of the best test epoch; the leak went on changing."""
    leak = cell("table17", "learned leak, 20 steps of 20 trained", "Leak")
    accuracy = cell("table17", "learned leak, 20 steps of 20 trained", "Acc")
    assert leak.training == accuracy.training
    leaks = (0.9, 0.91, 0.92)
    result = Result(
        key=leak.training.key(),
        config={},
        environment={},
        metrics=[{"epoch": epoch, "leak": {"stem.neuron": value}} for epoch, value in enumerate(leaks, 1)],
        result={"test_top1": 50.0, "best_test_epoch_top1": 60.0, "best_test_epoch": 2},
        best_by_steps=(60.0,) * 20,
    )
    results = {result.key: result}
    assert (_values(leak, 1, results), _values(accuracy, 1, results)) == ((0.91,), (60.0,))
    assert result.value("leak") == 0.92  # as Table 9 has it, beside accuracies after the last epoch
    assert replace(result, result={"test_top1": 50.0}).value("best-test-epoch-leak") is None
    for study in STUDIES.values():
        for each in study.cells:
            beside = {other.quantity for other in study.cells if other.training == each.training}
            assert each.quantity != "leak" or "best-test-epoch" not in beside


def test_every_row_of_s2m_states_its_spike_condition():
    shown = 0
    for study in STUDIES.values():
        for each in study.cells:
            model = each.training.recipe.model
            is_s2m = getattr(model, "connection", "") == "s2m" and model.neuron == "lif"  # the ANN has no spikes
            shown += is_s2m
            assert each.condition == ("u > theta" if is_s2m else "")
            assert ("spikes where u > theta" in each.remarks) == is_s2m
    assert shown == 3
    table2 = [row.texts()["note"] for row in rows_of(STUDIES["table2"], {})]
    assert ["spikes where u > theta" in note for note in table2].count(True) == 2
    at = replace(STUDIES["table2"].cells[0].training.recipe.model, fires_at_threshold=True)
    training = Training(recipe=replace(STUDIES["table2"].cells[0].training.recipe, model=at))
    assert replace(STUDIES["table2"].cells[0], training=training, note="x").remarks == "x; spikes where u >= theta"


def test_a_seed_changes_the_key_all_the_way_down():
    training = cell("table13", "S-ResNet38, 32x32").training
    other = training.with_seed(1)
    assert other.key() != training.key()
    assert other.start.recipe.seed == 1
    assert replace(other.start.recipe, seed=0) == training.start.recipe
    assert isinstance(training.start.recipe.data, DataConfig)
