"""Studies as a page, from results alone."""

import csv
import json
import re

import pytest

from sresnet.cli import main
from sresnet.report.study_figures import drawings
from sresnet.studies import results
from sresnet.studies.claims import AFTERWARDS
from sresnet.studies.rows import _values
from tests.report.runs import read_page
from tests.studies.made_up import all_results, evidence_of, studies_at


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A folder with made-up results of every training at the smallest scale."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "results/studies/tiny"
    for result in all_results(studies_at("tiny").values()).values():
        results.write(folder, result)
    return folder


def test_all_studies(kept, tmp_path, capsys):
    assert main(["report", "all", "-o", "page.html", "--files", "files"]) == 0
    assert capsys.readouterr().out.startswith("report: page.html\nfiles: ")
    text, elements = read_page(tmp_path / "page.html")
    found = results.read(kept)
    assert "These are not the paper's networks" in text
    assert AFTERWARDS in text
    for study in studies_at("tiny").values():
        with (tmp_path / f"files/{study.name}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == len(study.cells)
        for row, cell in zip(rows, study.cells, strict=True):
            if cell.search:  # there are no records of searches
                assert row["mean"] == ""
                continue
            (number,) = _values(cell, 1, found)
            assert float(row["mean"]) == pytest.approx(number, abs=1e-6)
            if cell.paper is not None:
                target = cell.paper if cell.target is None else cell.target
                assert float(row["difference"]) == pytest.approx(number - target, abs=1e-6)
        assert study.title in text
    figures = [values["id"] for tag, values in elements if tag == "figure"]
    pictures = {name.rpartition("-")[0].removeprefix("figure-") for name in figures}
    drawn = {drawing.name for drawing in drawings(evidence_of("tiny", found, searches={}))}
    assert len(drawn) == 12
    assert drawn <= pictures
    assert "figure-figure4-2" in figures
    with (tmp_path / "files/claims.csv").open(newline="") as file:
        verdicts = {row["verdict"] for row in csv.DictReader(file)}
    assert verdicts <= {"holds", "fails", "within noise", "not tested at this scale"}
    assert len(verdicts) > 1


def test_table_14_has_its_figures_and_costs(kept, tmp_path):
    assert main(["report", "table14", "-o", "page.html"]) == 0
    text, elements = read_page(tmp_path / "page.html")
    figures = {values["id"].rpartition("-")[0].removeprefix("figure-") for tag, values in elements if tag == "figure"}
    assert figures >= {"table14-cifar-10", "table14-cifar-100", "table14-dvs-cifar10"}
    assert not any(name.startswith(("figure3", "spikes")) for name in figures)
    assert "core-minutes" in text
    assert "Core-minutes are of a processor, 2 cores." in text


def test_one_study_with_a_row_that_failed_and_one_that_was_not_run(kept, tmp_path):
    study = studies_at("tiny")["table3"]
    failed, missing, there = (cell.training.key() for cell in study.cells)
    results.path_of(kept, failed).unlink()
    results.path_of(kept, missing).unlink()
    results.write_failure(kept, failed, "row", "loss is <nan>")
    assert main(["report", "table3", "-o", "page.html"]) == 0
    text, _ = read_page(tmp_path / "page.html")
    assert "1 of 3 training runs are finished; 1 row has seeds that failed." in text
    assert "seed 0 failed: loss is <nan>" in text
    html = (tmp_path / "page.html").read_text()
    assert "loss is <nan>" not in html
    cells = re.findall("<td.*?</td>", html[html.index("measured ones") :])
    assert [any(word in cell for cell in cells) for word in (">failed<", ">not run<")] == [True, True]
    lines = re.findall("<polyline", html[html.index('id="figure-table3-steps"') :])
    assert len(lines) <= 1, "a curve for the training that is there"
    assert json.loads(results.path_of(kept, there).read_text())["key"] == there


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["table3"], "--out is missing: name the page about these studies, such as -o report.html"),
        (["table3", "runs/first", "-o", "x.html"], "'runs/first' is not a study"),
        (["table3", "--scale", "small", "-o", "x.html"], "holds no results of scale small: run sresnet study first"),
        (["table3", "-o", "mine.txt"], "mine.txt exists and was not made by sresnet"),
    ],
)
def test_mistakes(kept, tmp_path, words, complaint, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["report", *words]) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert not (tmp_path / "x.html").exists()
