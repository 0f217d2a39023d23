"""`sresnet predict`, and the picture of how a prediction came about."""

import re

import pytest
import torch

from sresnet.analysis.prediction import Prediction, _probabilities_by_step
from sresnet.cli import main
from sresnet.report import figures, plots
from sresnet.report.png import picture_of
from tests.analysis.networks import batch, trained


def test_probabilities_are_those_of_stopping_there():
    model = trained(num_steps=3)
    x, _ = batch(model, images=1)
    found = _probabilities_by_step(model, x)
    for step in (1, 2, 3):
        torch.testing.assert_close(found[step - 1], model(x, num_steps=step).softmax(1)[0], atol=1e-6, rtol=1e-5)
    windows, _ = batch(model, images=4, frames=3)
    found = _probabilities_by_step(model, windows)
    for step in (1, 2, 3):
        expected = model(windows, num_steps=step).softmax(1).mean(0)
        torch.testing.assert_close(found[step - 1], expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found.sum(1), torch.ones(3))


MADE_UP = Prediction(
    title="a-picture-with-a-very-long-name-indeed.png",
    picture=torch.randint(0, 256, (3, 5, 4), dtype=torch.uint8),
    class_names=("cat", "dog", "ship", "never"),
    by_step=((0.5, 0.25, 0.25, 0.0), (0.2, 0.7, 0.1, 0.0)),
)


def test_best_classes_are_those_of_the_last_step():
    assert MADE_UP.best(2) == [("dog", 1), ("cat", 0)]
    assert len(MADE_UP.best(9)) == 4


def test_figure(tmp_path):
    pytest.importorskip("matplotlib")
    grey = Prediction(title="b", picture=MADE_UP.picture[:1], class_names=("x", "y"), by_step=((0.5, 0.5),))
    events = Prediction(title="c", picture=torch.rand(3, 2, 5, 4), class_names=("x", "y"), by_step=((0.5, 0.5),) * 3)
    figure = plots.draw(figures.predictions([MADE_UP, grey, events]))
    lines = figure.axes[1].lines
    assert [line.get_label() for line in lines] == ["dog, 70.0 %", "cat, 20.0 %", "ship, 10.0 %"]
    assert lines[0].get_ydata() == pytest.approx([25, 70])
    assert figure.axes[0].images[0].get_array().shape == (5, 4, 3)
    assert figure.axes[2].images[0].get_array().shape == (5, 4, 3)
    shown = torch.tensor(figure.axes[4].images[0].get_array())
    assert torch.equal(shown, picture_of(events.picture))
    more_on = (events.picture[:, 1] - events.picture[:, 0]).sum(0) > 0
    assert torch.equal(shown[:, :, 0] > shown[:, :, 2], more_on)  # towards orange
    plots.save_as(figure, tmp_path / "p.svg")
    words = re.findall(r"<text[^>]*>([^<]*)</text>", (tmp_path / "p.svg").read_text())
    assert {"dog, 70.0 %", "time steps", "probability so far (%)", "a-picture-with-a-very-lo…g"} <= set(words)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    fields = "--model.base-filters 2 --model.num-steps 2 --train.epochs 1".split()
    assert main(["train", "digits", *fields, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def picture(tmp_path):
    from PIL import Image
    from sklearn.datasets import load_digits

    path = tmp_path / "three.png"
    Image.fromarray((load_digits().images[3] * 255 / 16).round().astype("uint8")).save(path)
    return path


def test_the_command_draws(run, picture, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    assert main(["predict", str(run), str(picture)]) == 0
    plain = capsys.readouterr().out
    for ending in ("png", "svg"):
        assert main(["predict", "--model", str(run), str(picture), "--out", str(tmp_path / f"out.{ending}")]) == 0
        assert capsys.readouterr().out == f"{plain}drawn into {tmp_path}/out.{ending}\n"
    best = re.search(r"three\.png: (\d) (\d+\.\d) %", plain)
    assert f">{best[1]}, {best[2]} %<" in (tmp_path / "out.svg").read_text()
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--out PICTURE", "exists and was not made by sresnet: choose another --out"),
        ("--out out.jpg", "does not end in .png or .svg"),
        ("--uot out.png", "option '--uot' is unknown"),
    ],
)
def test_mistakes(run, picture, flags, words, capsys):
    before = picture.read_bytes()
    assert main(["predict", str(run), str(picture), *flags.replace("PICTURE", str(picture)).split()]) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert said.out == ""
    assert picture.read_bytes() == before


def test_without_matplotlib(run, picture, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(plots, "available", lambda: False)
    assert main(["predict", str(run), str(picture), "--out", str(tmp_path / "out.png")]) == 2
    assert "pip install 'sresnet[report]'" in capsys.readouterr().err
    assert main(["predict", str(run), str(picture)]) == 0
