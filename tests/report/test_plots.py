import os
import re
import struct
import subprocess
import sys
from xml.etree import ElementTree

import pytest
import torch

from sresnet import UserError
from sresnet.analysis import accuracy_by_step, activity, cost, gradient_norms
from sresnet.analysis.gradients import BlockGradient
from sresnet.analysis.prediction import Prediction
from sresnet.report import figures, plots
from sresnet.report.charts import Picture
from tests.analysis.networks import batch, trained

matplotlib = pytest.importorskip("matplotlib", reason="needs matplotlib, the extra 'report'")


@pytest.fixture(scope="module")
def looked_at():
    model = trained()
    data = [batch(model)]
    return activity(model, data), cost(model, data), accuracy_by_step(model, data), gradient_norms(model, *data[0])


def drawn(describe):
    """A function of `figures` that also draws."""
    return lambda *args, **kwargs: plots.draw(describe(*args, **kwargs))


def texts(figure, folder):
    """Write a figure; the words in it."""
    png, svg = plots.save(figure, folder / "figure")
    width, height = struct.unpack(">II", png.read_bytes()[16:24])
    assert (width, height) == tuple(round(200 * inches) for inches in figure.get_size_inches())
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg.read_text())


def test_activity_maps(looked_at, tmp_path):
    found = looked_at[0]
    own = figures.own_spikes(found)
    figure = drawn(figures.activity_maps)({"S2S": own, "again": own})
    words = texts(figure, tmp_path)
    for word in (
        "S2S",
        "again",
        "time step",
        "layer",
        "neurons that fire (%)",
        "mean gamma of the norm",
        "stage 1, block 1, first",
    ):
        assert word in words
    images = [axes.images[0].get_array() for axes in figure.axes[:4]]
    assert images[0].tolist() == [list(layer.active) for layer in found.layers]
    assert images[2].tolist() == [list(layer.gamma) for layer in found.layers]
    sending = drawn(figures.activity_maps)({"S2S": figures.outputs(found)})
    assert sending.axes[0].images[0].get_array().tolist() == [list(layer.sending) for layer in found.layers]


def test_a_network_without_norms_and_many_layers(tmp_path):
    model = trained("sresnet26", norm="none")
    found = activity(model, [batch(model)])
    words = texts(drawn(figures.activity_maps)({"": figures.own_spikes(found)}), tmp_path)
    assert "24" in words  # numbers instead of names
    assert "stage 1, block 1, first" not in words


def test_bars_and_curves(looked_at, tmp_path):
    found, costs, steps, gradients = looked_at
    bars = Picture(panels=((figures.spike_bars(found), figures.operation_bars(costs)),))
    words = texts(plots.draw(bars), tmp_path)
    for word in (
        "spikes per inference",
        "synaptic operations per inference",
        "stage 2, block 1, 1x1 skip",
        "readout",
        "stem",
    ):
        assert word in words
    figure = drawn(figures.accuracy_curves)({"a": (steps, costs), "b": (steps, costs)})
    assert figure.axes[0].lines[0].get_ydata().tolist() == list(steps.top1)
    assert figure.axes[1].lines[0].get_xdata()[-1] == pytest.approx(costs.synaptic_operations)
    assert {"a", "b", "accuracy (%)", "time steps"} <= set(texts(figure, tmp_path))
    figure = drawn(figures._gradient_curves)({"s2s": gradients})
    assert figure.axes[0].get_yscale() == "log"
    assert {"stem", "1.1", "3.1", "s2s"} <= set(texts(figure, tmp_path))


def test_the_same_numbers_make_the_same_files_and_no_style_stays(looked_at, tmp_path):
    before = dict(matplotlib.rcParams)
    for name in ("one", "two"):
        plots.save(drawn(figures.activity_maps)({"": figures.own_spikes(looked_at[0])}), tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert dict(matplotlib.rcParams) == before


def test_without_matplotlib(looked_at, monkeypatch):
    monkeypatch.setattr(plots.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"figures need matplotlib, .*: pip install 'sresnet\[report\]'"):
        drawn(figures.activity_maps)({"": figures.own_spikes(looked_at[0])})


NAMES = {
    "$a^{": "$a^{",
    "x$y$": "x$y$",
    "two\nlines": r"two\nlines",
    "\x1b]0;x\x07<&>": r"\x1b]0;x\x07&lt;&amp;&gt;",
    "caf\udce9": r"caf\xe9",
    "日本語": "日本語",
    "שלום": "שלום",
    "cat\u202egnp": r"cat\u202egnp",
    "🦉": "🦉",
}
"""What somebody may call a class or a file -> how it stands in SVG."""


def test_names_are_text_whatever_they_hold(tmp_path):
    picture = torch.zeros(1, 8, 8, dtype=torch.uint8)
    step = tuple(1 / len(NAMES) for _ in NAMES)
    found = [Prediction(title=name, picture=picture, class_names=tuple(NAMES), by_step=(step, step)) for name in NAMES]
    words = texts(drawn(figures.predictions)(found, len(NAMES)), tmp_path)
    for shown in NAMES.values():
        assert shown in words
        assert words.count(f"{shown}, 11.1 %") == len(NAMES)
    assert ElementTree.parse(tmp_path / "figure.svg").getroot().tag.endswith("svg")
    titles = [name for name in NAMES if "\n" not in name]
    blocks = [BlockGradient(name="stem", spikes=0.25, current=0.0)]
    words = texts(drawn(figures._gradient_curves)(dict.fromkeys(titles, blocks)), tmp_path)
    assert {NAMES[name] for name in titles} <= set(words)
    assert {"0.22", "0.28"} <= set(words)  # an axis of logarithms, without formulas


def test_signs_that_no_font_has_are_escaped_in_pixels(monkeypatch, tmp_path):
    monkeypatch.setattr(plots, "FONTS", ("DejaVu Sans",))
    saved = []
    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", lambda figure, *a, **k: saved.append(words_of(figure)))
    figure = drawn(figures._gradient_curves)(
        {"日本": [BlockGradient(name="stem", spikes=1.0, current=0.0)], "שלום é": []}
    )
    before = words_of(figure)
    plots.save(figure, tmp_path / "figure")
    assert r"\u65e5\u672c" in saved[0]
    assert "שלום é" in saved[0]
    assert "日本" in saved[1]
    assert words_of(figure) == before


def words_of(figure):
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text)]


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nonsense"])
def test_a_backend_left_by_a_notebook(backend, tmp_path):
    code = (
        "from sresnet.report import figures, plots; from sresnet.analysis.gradients import BlockGradient;"
        "picture = figures._gradient_curves({'a': [BlockGradient(name='stem', spikes=1.0, current=0.0)]});"
        "plots.save(plots.draw(picture), "
        "__import__('pathlib').Path('figure')); import os; print(os.environ['MPLBACKEND'])"
    )
    environment = os.environ | {"MPLBACKEND": backend}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", f"{backend}\n")
    assert len(list(tmp_path.iterdir())) == 2
