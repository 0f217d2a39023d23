"""Table 14 at a smaller scale: every published row, at one size, trained or converted by its own method."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from sresnet.convert import METHODS, FewSpikesConfig, WhetstoneConfig
from sresnet.data import DataConfig, EventConfig, open_data
from sresnet.data.scaling import scaling_from_plain
from sresnet.models.network import num_parameters
from sresnet.models.saved import load
from sresnet.studies.comparison import _SIZES, PARAMETERS, compared
from sresnet.studies.paper import STUDIES
from sresnet.studies.published import TABLE_14
from sresnet.studies.rows import COST_DATA_HEADER, COST_HEADER, DATA_HEADER, header_of, machines_of, rows_of
from sresnet.studies.scale import SCALES, scaled
from sresnet.studies.study import CONVERSIONS, Cell, Study, Training, with_most_steps
from sresnet.train import record
from sresnet.train.evaluate import evaluate
from sresnet.train.recipe import Recipe, TrainConfig
from sresnet.train.recipes import RECIPES
from sresnet.train.tandem import TandemConfig
from tests.studies.made_up import result_of
from tests.studies.test_run import go, open_digits

SMALL, TINY = (scaled(STUDIES["table14"], scale) for scale in ("small", "tiny"))
KEPT = Path(__file__).parents[2] / "results" / "studies" / "small"


def digest(keys):
    return hashlib.sha256(" ".join(sorted(keys)).encode()).hexdigest()[:12]


class TestKeys:
    def test_trainings_of_before_have_theirs(self):
        """What was kept of them is still found."""
        keys = {
            training.key()
            for name, study in STUDIES.items()
            if name != "table14"
            for training in scaled(study, "small").training_runs()
        }
        assert {path.stem for path in KEPT.glob("????????????.json")} >= keys
        assert digest(training.key() for study in STUDIES.values() for training in study.training_runs()) == PAPER

    def test_rows_have_theirs(self):
        """Days of training are found by them: change them only with what is trained."""
        assert digest(training.key() for training in SMALL.training_runs()) == SMALL_KEYS

    def test_each_conversion_has_its_own(self):
        ann = SMALL.cells[5].training.start
        methods = [*CONVERSIONS.values(), replace(METHODS["deng"], num_steps=7), FewSpikesConfig(internal_steps=3)]
        keys = {replace(ann, start=ann, conversion=method).key() for method in (None, *methods)}
        assert len(keys | {ann.key()}) == len(methods) + 2


PAPER, SMALL_KEYS = "9f86dcb105fe", "ce8ecfa24583"


class TestRows:
    @pytest.mark.parametrize("study", [SMALL, TINY], ids=["small", "tiny"])
    def test_they_are_the_table(self, study):
        assert [(cell.row.removeprefix("Ours "), cell.column, cell.paper) for cell in study.cells] == [
            (entry.network, entry.data, entry.accuracy) for entry in TABLE_14
        ]
        assert len({cell.key for cell in study.cells}) == 19
        assert {cell.row for cell in STUDIES["table14"].cells} <= {cell.row for cell in study.cells}
        assert (study.seeds, study.costs) == (1, True)
        assert all(cell.training.num_steps <= 3 for cell in TINY.cells)

    def test_the_paper_s_scale_trains_what_it_did(self):
        assert scaled(STUDIES["table14"], "paper") is STUDIES["table14"]
        assert len(STUDIES["table14"].cells) == 3

    def test_sizes(self):
        """Within a tenth of one number of parameters, and every size is of a row."""
        for row in rows_of(SMALL, {}):
            assert abs(row.parameters - PARAMETERS) < 0.1 * PARAMETERS, row.cell.row
        entries = {(entry.topology.model if entry.topology else "", entry.data) for entry in TABLE_14}
        assert entries == set(_SIZES)

    def test_each_is_the_published_network_but_for_its_size(self):
        """Fields that no `why` names are those of the authors' recipe."""
        sizes = {"width", "hidden", "num_steps", "base_filters", "image_size"}
        for each in compared():
            topology, recipe = each.entry.topology, each.training.recipe
            size = _SIZES[topology.model if topology else "", each.entry.data]
            if topology is None or size.why:
                continue
            theirs, ours = vars(topology.config), vars(recipe.model)
            changed = {name for name in ours if ours[name] != theirs[name]}
            assert changed <= sizes, topology.model
            names = [name for name, (_, named) in RECIPES.items() if type(named.model) is type(recipe.model)]
            authors = RECIPES[topology.model if topology.model in names else f"{topology.model}-dvs"][1].train
            for name in ("optimiser", "schedule", "loss", "momentum", "weight_decay", "milestones"):
                assert getattr(recipe.train, name) == getattr(authors, name), (topology.model, name)

    def test_the_input_scale_of_a_recipe_stays(self):
        (lee,) = [each for each in compared() if each.entry.row.startswith("Lee")]
        assert lee.training.recipe.model.poisson_scale == 2.25

    def test_conversions(self):
        for entry, cell in zip(TABLE_14, SMALL.cells, strict=True):
            training = cell.training
            assert (training.conversion is None) == (not entry.conversion)
            if training.conversion is not None:
                assert training.start == Training(recipe=training.recipe)
                usual = CONVERSIONS[entry.conversion]
                assert type(training.conversion) is type(usual)
                assert training.num_steps > 1
        tsc, spikenorm = (next(c for c in SMALL.cells if c.row.startswith(name)) for name in ("Han", "Sengupta"))
        assert tsc.training.start == spikenorm.training.start

    def test_at_equal_terms(self):
        """All on the same images, read once after the last epoch, none from other networks' weights."""
        for cell in SMALL.cells:
            recipe = cell.training.recipe
            assert cell.quantity == "last-epoch"
            assert recipe.train.protocol == "last-epoch"
            assert cell.training.start is None or cell.training.conversion is not None
            if isinstance(recipe.data, EventConfig):
                events = SCALES["small"].events
                assert replace(recipe.data, frames=events.frames) == events
                assert recipe.model.num_steps == 8
            else:
                expected = DataConfig(name=recipe.data.name, train_images=10_000, validation=recipe.data.validation)
                assert recipe.data == expected
                assert getattr(recipe.model, "stem", "c3") == "c3"  # 32x32 pixels
            assert recipe.data.validation == (0.1 if cell.row.startswith("Wu") else 0)

    def test_seed_0_of_every_row_comes_first(self):
        seeds = [training.recipe.seed for training in replace(TINY, seeds=2).training_runs()]
        assert seeds == sorted(seeds)

    def test_no_more_steps(self):
        few = with_most_steps(TandemConfig(num_steps=16, epochs=40), 3, 2)
        assert (few.num_steps, few.epochs) == (3, 2)
        assert with_most_steps(METHODS["deng"], 3, 2).num_steps == 3
        assert with_most_steps(FewSpikesConfig(), 3, 2).internal_steps == 3
        assert with_most_steps(WhetstoneConfig(), 3, 2) == WhetstoneConfig()


# Trained and converted ------------------------------------------------------------------------------------------------


def recipe(name, *, validation=0.0, train=(), **model):
    fields = {"image_size": 16, "in_channels": 1, **model}
    return Recipe(
        model=replace(RECIPES[name][1].model, **fields),
        data=DataConfig(name="digits", flip=False, crop_padding=0, train_images=100, validation=validation),
        train=TrainConfig(epochs=1, batch_size=50, learning_rate=0.01, **dict(train)),
    )


WU = recipe("wu-vgg11", validation=0.2, width=1 / 16)
SHARPENED = recipe(
    "wu-vgg11", width=1 / 16, neuron="sharpened", norm_momentum=0.5, train={"sharpen_epochs": (0.0, 0.5)}
)
STEPS = 3
KINDS = {
    "rates": (WU, replace(METHODS["deng"], num_steps=STEPS)),
    "Poisson spikes": (WU, replace(METHODS["spikenorm"], num_steps=STEPS)),
    "few spikes": (WU, FewSpikesConfig(internal_steps=STEPS)),
    "tandem": (WU, TandemConfig(num_steps=STEPS, epochs=2, stage_epochs=1, batch_size=40)),
    "whetstone": (SHARPENED, WhetstoneConfig()),
}


def row_of(recipe, conversion):
    return Training(recipe=recipe, start=Training(recipe=recipe), conversion=conversion)


def study_of(*trainings):
    cells = [Cell(f"row {i}", "acc", training, 50.0) for i, training in enumerate(trainings)]
    return Study(name="tried", title="A trial", cells=tuple(cells), costs=True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_converted_row(tmp_path, kind):
    training = row_of(*KINDS[kind])
    found, told = go(tmp_path, study_of(training))
    assert set(found) == {training.key(), training.start.key()}, told
    result, folder = found[training.key()], tmp_path / "runs" / training.key()
    network, about = load(folder), record.read_about(folder)
    assert num_parameters(network) > 1000
    steps = {"few spikes": 1, "whetstone": 1}.get(kind, STEPS)
    assert len(result.by_steps) == network.config.num_steps == steps
    splits = open_digits(training.recipe.data, 0, 1)
    settings = {"batch_size": 100, "seed": 0}
    if kind != "Poisson spikes":
        top1 = evaluate(network, splits.test, scaling_from_plain(about), **settings).top1
        assert result.result["test_top1"] == result.by_steps[-1] == pytest.approx(top1)
    assert result.result["ann_test_top1"] == found[training.start.key()].result["test_top1"]
    assert result.result["conversion_seconds"] > 0
    assert result.config["pretrained"] == training.start.key()
    assert result.activity["energy"] > 0
    (row,) = rows_of(study_of(training), found)
    assert row.costs.num_steps == {"whetstone": 1}.get(kind, STEPS)
    assert row.costs.operations == result.activity["synaptic_operations"]
    assert row.costs.core_minutes > 60 * result.undisturbed_hours
    assert go(tmp_path, study_of(training))[1] == []  # nothing is left


def test_two_conversions_share_their_ann(tmp_path):
    first, second = (row_of(*KINDS[name]) for name in ("rates", "few spikes"))
    found, told = go(tmp_path, study_of(first, second))
    assert len(found) == 3
    names = [name for name, what in told if what.startswith("begins")]
    assert names == ["tried, row 0, acc, seed 0: the ANN", "tried, row 0, acc, seed 0", "tried, row 1, acc, seed 0"]


def test_tandem_learning_goes_on_where_it_was_stopped(tmp_path):
    training = row_of(*KINDS["tandem"])
    whole, _ = go(tmp_path / "whole", study_of(training))
    go(tmp_path / "cut", study_of(training.start))
    found, told = go(tmp_path / "cut", study_of(training), should_stop=stop_at_epoch_1(tmp_path / "cut", training))
    assert training.key() not in found
    assert told[-1][1].startswith("stopped")
    found, told = go(tmp_path / "cut", study_of(training))
    assert next(what for _, what in told if "epoch" in what).startswith("epoch 2/2")
    assert found[training.key()].by_steps == whole[training.key()].by_steps
    assert found[training.key()].activity == whole[training.key()].activity


def stop_at_epoch_1(folder, training):
    checkpoint = folder / "runs" / f"{training.key()}-training" / "tandem.safetensors"
    return lambda: checkpoint.exists()


def test_a_conversion_whose_result_was_lost_is_not_made_again(tmp_path, monkeypatch):
    training = row_of(*KINDS["Poisson spikes"])
    first, _ = go(tmp_path, study_of(training))
    (tmp_path / "kept" / f"{training.key()}.json").unlink()
    monkeypatch.setattr("sresnet.studies.run.convert", lambda *_, **__: pytest.fail("converted again"))
    again, _ = go(tmp_path, study_of(training))
    assert again[training.key()].by_steps == first[training.key()].by_steps
    assert again[training.key()].result == first[training.key()].result


def test_a_conversion_that_fails_says_why(tmp_path):
    sums = recipe("deng-resnet20", width=1 / 16, validation=0.2)
    training = row_of(sums, TandemConfig(num_steps=STEPS))
    _, told = go(tmp_path, study_of(training))
    assert told[-1][1].startswith("failed: step ")
    assert "use a plain VGG" in told[-1][1]


@pytest.mark.parametrize("row", ["Kim S-VGG9", "Fang Wide-7B-Net"])
def test_a_direct_row(tmp_path, row):
    """One of digits, one of simulated recordings of them."""
    cell = next(cell for cell in TINY.cells if cell.row == row)
    data = cell.training.recipe.data
    few = {"train_images": 20, "test_images": 20} if isinstance(data, EventConfig) else {"train_images": 40}
    training = replace(cell.training, recipe=replace(cell.training.recipe, data=replace(data, **few)))

    def open_(data, seed, num_steps):
        return open_data(data, "", seed=seed, num_steps=num_steps, cache_dir=str(tmp_path / "cache"))

    found, told = go(tmp_path, study_of(training), open_=open_)
    assert told[-1][1].startswith("finished"), told
    assert len(found[training.key()].by_steps) == training.recipe.model.num_steps


# The table ------------------------------------------------------------------------------------------------------------


def made_up_results(cells):
    found = {}
    for cell in cells:
        for training in cell.training.chain():
            found[training.key()] = result_of(training)
    return found


def test_minutes_are_those_of_a_training_that_nothing_slowed_down():
    cell = SMALL.cells[0]
    result = result_of(cell.training)
    batch = cell.training.recipe.train.batch_size

    def epoch(number, pace, seconds, **kind):
        return {"epoch": number, "step": 10 * number, "images_per_second": pace, "seconds": seconds} | kind

    slow = batch * 10 / 4.0
    lines = (epoch(1, 80.0, batch / 8), epoch(2, 4.0, slow), epoch(3, 80.0, batch / 80))  # of the third only the end
    half = [epoch(4, 160.0, batch / 16, num_steps=2), epoch(5, 160.0, batch / 16, num_steps=2)]
    found = {result.key: replace(result, metrics=(*lines, *half), environment={"threads": 2})}
    (row,) = rows_of(replace(SMALL, cells=(cell,)), found)
    assert row.costs.core_minutes == pytest.approx(2 * (3 * batch / 8 + 2 * batch / 16) / 60)


def test_costs_are_of_the_whole_chain():
    cell = SMALL.cells[4]
    found = made_up_results([cell])
    own, start = (found[each.key()] for each in (cell.training, cell.training.start))
    here, there = {"threads": 1, "device": "this"}, {"threads": 2, "device": "that"}
    seconds = own.result | {"conversion_seconds": 90.0}
    found[own.key] = replace(own, metrics=(), result=seconds, environment=here)
    found[start.key] = replace(start, metrics=({"epoch": 1, "step": 1, "seconds": 60.0},), environment=there)
    (row,) = rows_of(replace(SMALL, cells=(cell,)), found)
    assert row.costs.core_minutes == pytest.approx(1.5 + 2 * 1.0)
    assert row.costs.machines == ("that", "this")
    assert machines_of([row]) == "Core-minutes are of that, this."
    texts, data = row.texts(), row.data()
    assert tuple(texts) == header_of(SMALL)
    assert tuple(data) == (*DATA_HEADER, *COST_DATA_HEADER)
    assert (texts["parameters"], texts["T"], texts["core-minutes"]) == ("298,190", "16", "3.5")
    assert data["machine"] == "that; this"
    found.pop(start.key)
    (row,) = rows_of(replace(SMALL, cells=(cell,)), found)
    assert row.costs.core_minutes is None
    assert row.texts()["core-minutes"] == ""


def test_columns_without_results_and_of_other_studies():
    for row in rows_of(SMALL, {}):
        assert tuple(row.texts())[-6:-1] == COST_HEADER
        assert [row.texts()[name] for name in COST_HEADER[2:]] == [""] * 3
        assert int(row.texts()["parameters"].replace(",", "")) > 0
        assert set(row.numbers()) >= set(COST_HEADER)
    assert all(row.costs is None for row in rows_of(STUDIES["table2"], {}))
    assert machines_of(rows_of(SMALL, {})) == ""


def test_energy_of_older_results_is_not_there():
    cell = SMALL.cells[0]
    found = made_up_results([cell])
    (row,) = rows_of(replace(SMALL, cells=(cell,)), found)
    assert "energy" not in found[cell.training.key()].activity
    assert (row.costs.energy, row.texts()["energy (µJ)"]) == (None, "")
    assert row.costs.operations > 0
