"""Several runs on one page, and figures and tables as files."""

import csv
import json
import re
import shutil
import xml.etree.ElementTree as ET

import pytest
import torch

from sresnet.cli import main
from sresnet.files import read_json
from sresnet.report import plots
from sresnet.report.charts import Axis, Line, LineChart
from sresnet.report.document import Table
from sresnet.report.svg import draw
from sresnet.report.text import table_csv, table_markdown
from sresnet.train import record
from tests.report.runs import read_page, train_tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two runs, "a" and "b", which differ."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs")
    train_tiny(folder / "a")
    train_tiny(folder / "b", "--model.connection", "s2m", "--seed", "1")
    return folder


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_table_in_front_and_curves_over_each_other(folder, tmp_path):
    page, files = tmp_path / "page.html", tmp_path / "files"
    assert main(["report", str(folder / "a"), str(folder / "b"), "-o", str(page), "--files", str(files)]) == 0
    text, elements = read_page(page)
    assert text.startswith("2 runs")
    rows = rows_of(files / "runs.csv")
    assert [row["run"] for row in rows] == ["a", "b"]
    assert [row["line"] for row in rows] == ["connection s2s, seed 0", "connection s2m, seed 1"]
    fields = rows_of(files / "differences.csv")
    assert fields == [
        {"field": "model.connection", "a": "s2s", "b": "s2m"},
        {"field": "seed", "a": "0", "b": "1"},
    ]
    for row in rows:
        result = read_json(folder / row["run"] / "result.json")
        assert float(row["test accuracy, %"]) == result["test_top1"]
        assert f"{result['test_top1']:.2f}" in text
    html = page.read_text()
    chart = re.search(r'id="figure-validation-accuracy".*?</svg>', html, flags=re.DOTALL)[0]
    assert len(re.findall("<polyline", chart)) == 2
    labels = ("connection s2s, seed 0", "connection s2m, seed 1")
    for name, label, colour in zip("ab", labels, ("s1", "s2"), strict=True):
        last = record.read_metrics(folder / name)[-1]["validation_top1"]
        assert f"{label}, epoch 2: {last:.4g}" in chart
        assert f'stroke="var(--{colour})"' in chart
    names = re.findall(r' id="([^"]+)"', html)
    assert len(names) == len(set(names))
    headings = [values["id"] for tag, values in elements if tag == "section" and "id" in values]
    assert headings == ["section1", "section2", "section3"]


def test_runs_of_one_name_are_told_apart(folder, tmp_path):
    shutil.copytree(folder / "a", tmp_path / "a")
    page = tmp_path / "page.html"
    assert main(["report", str(folder / "a"), str(tmp_path / "a"), "-o", str(page), "--images", "20"]) == 0
    text, _ = read_page(page)
    assert str(folder / "a") in text
    assert str(tmp_path / "a") in text


def test_several_need_a_name_for_the_page(folder, capsys):
    assert main(["report", str(folder / "a"), str(folder / "b")]) == 2
    assert "--out is missing" in capsys.readouterr().err
    assert not (folder / "a" / "report.html").exists()


def test_files_are_the_figures_and_tables_of_the_page(folder, tmp_path):
    page, files = tmp_path / "page.html", tmp_path / "files"
    assert main(["report", str(folder / "a"), "-o", str(page), "--files", str(files), "--images", "50"]) == 0
    _, elements = read_page(page)
    drawn = {values["id"].removeprefix("figure-") for tag, values in elements if tag == "figure"}
    assert {path.stem for path in files.glob("*.svg")} == drawn
    for path in files.glob("*.svg"):
        root = ET.parse(path).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "var(" not in path.read_text()
    tables = {values["id"].removeprefix("table-") for tag, values in elements if values.get("class") == "title"}
    assert {path.stem for path in files.glob("*.csv")} == tables
    assert {path.stem for path in files.glob("*.md")} == tables
    epochs = rows_of(files / "epochs.csv")
    assert [float(row["training loss"]) for row in epochs] == [
        line["train_loss"] for line in record.read_metrics(folder / "a")
    ]
    layers = rows_of(files / "layers.csv")
    assert [row["layer"] for row in layers[:3]] == ["stem.conv", "stage1_block1.conv1", "stage1_block1.conv2"]
    assert "stage 1, block 1, second" in page.read_text()
    listed = json.loads((files / "files.json").read_text())
    assert {path.name for path in files.iterdir()} == {"files.json", *listed["files"]}
    pictures = {path.stem for path in files.glob("*.png")}
    expected = {"activity", "operations", "accuracy-over-steps", "confusion", "gradients", "examples"}
    assert pictures == (expected if plots.available() else set())


def test_files_of_others_are_left_alone(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(plots, "available", lambda: False)
    page, files = tmp_path / "page.html", tmp_path / "files"
    command = ["report", str(folder / "a"), "-o", str(page), "--images", "5", "--files"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "classes.csv").write_text("mine")
    assert main([*command, str(tmp_path / "mine")]) == 2
    assert "is not empty (classes.csv) and holds no report files" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "mine" / "classes.csv")]) == 2
    assert (tmp_path / "mine" / "classes.csv").read_text() == "mine"
    assert not page.exists()
    assert main([*command, str(files)]) == 0
    (files / "notes.txt").write_text("mine")
    assert main([*command, str(files)]) == 0  # ours are replaced
    assert (files / "notes.txt").read_text() == "mine"
    listed = json.loads((files / "files.json").read_text())
    listed["files"].remove("classes.csv")  # as if somebody had put it there
    (files / "files.json").write_text(json.dumps(listed))
    assert main([*command, str(files)]) == 2
    assert "classes.csv exists and was not made by sresnet" in capsys.readouterr().err


def test_tables_as_text():
    table = Table(
        name="t", title="T", columns=(("name", ""), ("number", ",.1f")), rows=(("a|b\nc", 1234.56), ('"x", y', None))
    )
    assert table_csv(table) == 'name,number\na|b\\nc,1234.56\n"""x"", y",\n'
    assert table_markdown(table) == 'T\n\n| name | number |\n| --- | ---: |\n| a&#124;b c | 1,234.6 |\n| "x", y |  |\n'


def chart_of(line, *, logarithmic=False):
    return LineChart(title="t", lines=(line,), x=Axis(label="x"), y=Axis(label="y", logarithmic=logarithmic))


def test_points_of_a_chart_are_where_their_numbers_say():
    """Equal steps in x and y are equal steps on the page; y grows upwards; what is not finite is left out."""
    line = Line(name="", x=[0, 1, 2, 3, 4], y=[0.0, 10.0, float("nan"), 30.0, 20.0])
    chart = ET.fromstring(draw(chart_of(line), "n"))
    points = [[float(number) for number in point.split(",")] for point in chart.find("polyline").get("points").split()]
    (x0, y0), (x1, y1), (x3, y3), (x4, y4) = points
    assert x3 - x1 == pytest.approx(2 * (x1 - x0), abs=0.2)
    assert x4 - x3 == pytest.approx(x1 - x0, abs=0.2)
    assert y0 - y1 == pytest.approx(y4 - y3, abs=0.2)
    assert y0 - y3 == pytest.approx(3 * (y0 - y1), abs=0.2)
    assert y3 < y4 < y1 < y0


def test_a_logarithmic_chart_leaves_out_what_has_no_logarithm():
    line = Line(name="", x=[0, 1, 2], y=[0.0, 0.01, 1.0])
    chart = ET.fromstring(draw(chart_of(line, logarithmic=True), "n"))
    assert len(chart.find("polyline").get("points").split()) == 2
    labels = [text.text for text in chart.iter("text")]
    assert {"0.01", "0.1", "1"} <= set(labels)
