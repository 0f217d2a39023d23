"""Figures of results: each is drawn where there is something for it, and shows the numbers that there are."""

import re
from dataclasses import replace
from statistics import stdev

import pytest

from sresnet.report import plots
from sresnet.report.study_figures import drawings
from sresnet.studies.rows import rows_of
from tests.search.made_up import LEAKS, all_searches
from tests.studies.made_up import all_results, evidence_of, studies_at

colors = pytest.importorskip("matplotlib.colors", reason="needs matplotlib, the extra 'report'")

SMALL = studies_at("small")
ALL = all_results(SMALL.values(), lambda training: 50.0 + training.recipe.seed)
PAPER = all_results(studies_at("paper").values())
NAMES = [
    *("figure3", "figure4", "figure5", "figure6"),
    *("table14-cifar-10", "table14-cifar-100", "table14-dvs-cifar10"),
    *("steps", "leaks", "operations", "spikes", "gradients", "learning-curves"),
]


def drawn(name, results=ALL, scale="small"):
    (found,) = [drawing for drawing in drawings(evidence_of(scale, results)) if drawing.name == name]
    return plots.draw(found.picture)


def names(*studies):
    results = all_results([SMALL[name] for name in studies])
    return [drawing.name for drawing in drawings(evidence_of("small", results, searches={}))]


def test_each_is_drawn_only_where_there_is_something_for_it():
    assert drawings(evidence_of("small", {})) == []
    assert [drawing.name for drawing in drawings(evidence_of("small", ALL))] == NAMES
    assert names("figure3") == ["figure3", "figure5", "operations", "spikes", "gradients"]
    assert names("table12") == ["figure4", "figure5", "steps", "learning-curves"]
    assert "learning-curves" not in names("table7")  # from scratch alone
    assert names("table11")[0] == "figure5"  # what they start from
    assert "figure6" in names("table11")


def test_leaks_of_searches_over_their_steps():
    found = {name: all_searches()[name] for name in ("cifar10-t2", "cifar10-t8")}
    (drawing,) = drawings(evidence_of("small", {}, searches=found))
    ((chart,),) = drawing.picture.panels
    means, trials = chart.lines
    assert chart.x.names == ("2", "8")
    assert (list(means.x), list(means.y)) == ([0, 1], pytest.approx([0.85, 0.85]))
    assert list(means.y_deviation) == pytest.approx([0.0374166, 0.0374166], abs=1e-6)
    assert list(zip(trials.x, trials.y, strict=True)) == [(place, leak) for place in (0, 1) for leak in LEAKS]


@pytest.mark.parametrize("name", NAMES)
def test_all_can_be_written_at_the_papers_scale(name, tmp_path):
    png, svg = plots.save(drawn(name, PAPER, "paper"), tmp_path / name)
    assert png.stat().st_size > 5_000
    assert len(re.findall(r"<text[^>]*>([^<]+)</text>", svg.read_text())) > 5


def test_maps_are_means_over_seeds():
    cell = next(cell for cell in SMALL["figure3"].cells if cell.row == "S-ResNet38 S2S")
    keys = [cell.training.with_seed(seed).key() for seed in range(3)]
    layer = dict(ALL[keys[0]].activity["layers"][2])
    brighter = [dict(each) for each in ALL[keys[0]].activity["layers"]]
    brighter[2] = layer | {"active": [value + 3 for value in layer["active"]]}
    changed = replace(ALL[keys[0]], activity=ALL[keys[0]].activity | {"layers": brighter})
    figure = drawn("figure3", ALL | {keys[0]: changed})
    assert [axes.get_title() for axes in figure.axes[:4]] == ["VGG11", "S2M", "S2S", "V2V"]
    shown = figure.axes[2].images[0].get_array().tolist()
    assert shown[2] == pytest.approx([value + 1 for value in layer["active"]])  # three more in one of three seeds
    assert shown[1] == pytest.approx(ALL[keys[0]].activity["layers"][1]["active"])
    gamma = figure.axes[6].images[0].get_array().tolist()
    assert gamma[2] == pytest.approx(layer["gamma"])


@pytest.mark.parametrize("scale", ["small", "paper"])
def test_published_and_measured_are_told_apart(scale):
    figure = drawn("figure4", ALL if scale == "small" else PAPER, scale)
    left, right = figure.axes
    assert left.get_title() == "published"
    assert right.get_title() == f"measured here, scale {scale}"
    published = {line.get_label(): line for line in left.lines}
    assert published["Kim S-VGG9"].get_xdata()[0] == 5_993_280
    assert published["S-ResNet38 (the paper)"].get_ydata()[0] == 94.14
    assert "Zheng S-ResNet'19†" in published
    assert {colors.to_hex(line.get_markerfacecolor()) for line in left.lines} == {"#ffffff"}
    measured = {line.get_label(): line for line in right.lines if not line.get_label().startswith("_")}
    number = 3 if scale == "small" else 1
    line = measured[f"32 filters ({number})"]
    assert line.get_ydata()[0] == (51.0 if number == 3 else 50.0)
    assert colors.to_hex(line.get_markerfacecolor()) != "#ffffff"
    assert (left.get_ylim() == right.get_ylim()) == (scale == "paper")


def test_rows_of_table_14_are_where_they_were_published_and_measured():
    left, right = drawn("table14-cifar-10").axes
    published = {line.get_label(): line for line in left.lines if not line.get_label().startswith("_")}
    measured = [line for line in left.lines if line.get_label().startswith("_")]
    costs = {row.cell.row: row.costs for row in rows_of(SMALL["table14"], ALL) if row.cell.column == "CIFAR-10"}
    assert len(published) == len(measured) == len(right.lines) == len(costs) == 10
    assert {colors.to_hex(line.get_markerfacecolor()) for line in published.values()} == {"#ffffff"}
    for hollow, filled, other in zip(published.values(), measured, right.lines, strict=True):
        assert hollow.get_marker() == filled.get_marker() == other.get_marker()
        assert hollow.get_color() == filled.get_color() == other.get_color()
        assert colors.to_hex(filled.get_markerfacecolor()) == colors.to_hex(filled.get_color())
    assert [line.get_xdata()[0] for line in measured] == [each.parameters for each in costs.values()]
    assert [line.get_xdata()[0] for line in right.lines] == [each.operations for each in costs.values()]
    assert published["Deng ResNet-20, converted"].get_xdata()[0] == 11_253_440
    assert published["S-ResNet38 (the paper)"].get_marker() == "*"
    assert "Han VGG16, T = 128, converted" in [line.get_label() for line in right.lines]
    events = drawn("table14-dvs-cifar10")
    assert events.axes[1].get_title() == "measured here, scale small, simulated recordings"
    names = [line.get_label() for line in events.axes[0].lines if not line.get_label().startswith("_")]
    assert not any(name.startswith("Kim") for name in names)  # a network of ours was not published


def test_simulated_recordings_are_named():
    assert drawn("figure6").axes[1].get_title() == "measured here, scale small, simulated recordings"
    assert drawn("figure6", PAPER, "paper").axes[1].get_title() == "measured here, scale paper"


def test_curves_over_steps():
    figure = drawn("steps")
    assert [axis.get_title() for axis in figure.axes] == ["CIFAR-100", "CIFAR-10"]
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert set(lines) == {"trained with 5 steps (3)", "trained with 2 steps (3)"}
    long = lines["trained with 5 steps (3)"]
    assert long.get_xdata().tolist() == [1, 2, 3, 4, 5]
    assert long.get_ydata()[-1] == 51.0
    band = figure.axes[0].collections[0].get_paths()[0].vertices[:, 1]
    assert (band.max(), band[-2]) == (pytest.approx(51 + stdev([50, 51, 52])), pytest.approx(46 * 51 / 50, abs=2))


def test_points_over_operations():
    figure = drawn("operations")
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    cell = next(cell for cell in SMALL["table2"].cells if cell.row == "S-ResNet38 S2M")
    result = ALL[cell.training.key()]
    assert lines["S2M"].get_xdata()[0] == pytest.approx(result.activity["synaptic_operations"])
    assert lines["S2M"].get_ydata()[0] == pytest.approx(51.0)


def test_a_connection_looks_the_same_in_every_figure():
    spikes = drawn("spikes").axes[0]
    bars = dict(zip([text.get_text() for text in spikes.get_yticklabels()], spikes.patches, strict=True))
    lines = {line.get_label().split(" ")[0]: line for line in drawn("gradients").axes[0].lines}
    points = {line.get_label(): line for line in drawn("operations").axes[1].lines}
    for name in ("S2S", "S2M", "V2V"):
        assert colors.to_rgba(bars[name].get_facecolor()) == colors.to_rgba(lines[name].get_color())
        assert lines[name].get_color() == points[name].get_color()
        assert lines[name].get_marker() == points[name].get_marker()
    assert colors.to_rgba(bars["VGG11"].get_facecolor()) == colors.to_rgba(points["VGG11"].get_color())


def test_spikes_are_the_totals():
    own, sent = drawn("spikes").axes
    totals = [ALL[cell.training.key()].activity["spikes"] for cell in SMALL["figure3"].cells]
    assert [patch.get_width() for patch in own.patches] == pytest.approx(totals)
    assert [text.get_text() for text in sent.get_yticklabels()] == ["S2M", "S2S", "V2V"]
    s2s = [layer["spikes"] for layer in ALL[SMALL["figure3"].cells[2].training.key()].activity["layers"]]
    again = 2 * s2s[0] + s2s[2]  # in the sums of both blocks: the stem's spikes; in the second's: the first's
    assert sent.patches[1].get_width() == pytest.approx(sum(s2s[:5]) + again)


def test_gradients_of_the_connections():
    axis = drawn("gradients").axes[0]
    assert axis.get_yscale() == "log"
    lines = {line.get_label(): line.get_ydata() for line in axis.lines}
    assert set(lines) == {"S2M (3)", "S2S (3)", "V2V (3)"}
    assert lines["S2M (3)"][0] == pytest.approx(0.1 * 0.5**6)


def only(name, scale, results):
    """Those results that a study looks at."""
    return {training.key(): results[training.key()] for training in studies_at(scale)[name].training_runs()}


def test_learning_curves():
    figure = drawn("learning-curves")
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[0] == "DVS-CIFAR10, 16 filters"
    captions = {
        (scale, study): drawing.caption
        for scale, results in (("small", ALL), ("paper", PAPER))
        for study in ("table11", "table12")
        for drawing in drawings(evidence_of(scale, only(study, scale, results)))
        if drawing.name == "learning-curves"
    }
    assert [key for key, caption in captions.items() if "SIMULATED" in caption] == [("small", "table11")]
    assert len(captions) == 4
    lines = {line.get_label(): line for line in figure.axes[2].lines}
    assert lines["from scratch (1)"].get_xdata().tolist() == [1, 2, 3, 4, 5, 6]
    assert lines["from CIFAR-100 (1)"].get_xdata().tolist() == [1, 2, 3]
    assert lines["from CIFAR-100 (1)"].get_ydata().tolist() == pytest.approx([25.0, 37.5, 50 * (1 - 0.5 / 3)])
