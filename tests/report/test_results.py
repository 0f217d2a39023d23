"""The page of results: which networks these are, their numbers and verdicts; and all renderings say the same."""

import csv
import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from statistics import fmean

import pytest

from sresnet import UserError
from sresnet.cli import main
from sresnet.report.results import MARK, OTHER_SCALE, other_scale, page, write_page
from sresnet.report.text import markdown
from sresnet.search.record import read_records
from sresnet.studies.results import failures as read_failures
from sresnet.studies.results import read
from sresnet.studies.rows import COST_HEADER, rows_of
from sresnet.studies.scale import SCALES, ScaleName
from tests.studies.made_up import all_results, evidence_of, result_of, studies_at

ROOT = Path(__file__).parents[2]
SMALL = studies_at("small")
SEARCHES = ROOT / "results" / "searches"


def test_a_bar_in_a_cell_does_not_end_it():
    assert markdown(("a", "b"), [("x|y", "two\nlines")]).splitlines()[2] == "| x&#124;y | two lines |"


class TestPage:
    def text(self, results, scale="small", failures=None):
        return page(evidence_of(scale, results, failures))

    def test_which_networks_these_are_comes_first(self):
        text = self.text({})
        assert text.startswith(MARK.format(scale="small"))
        before = " ".join(text.partition("## What the paper says")[0].split())
        assert "**These are not the paper's networks, and their accuracies are not the paper's.**" in before
        assert " ".join(SCALES["small"].about.split()) in before
        assert "0 of 100 training runs are finished." in before
        assert "not the paper's" not in self.text({}, "paper").partition("## What the paper says")[0]

    def test_every_study_and_claim_has_its_place(self):
        text = self.text({})
        assert [f"results/studies/small/tables/{name}.csv" in text for name in SMALL] == [True] * len(SMALL)
        assert text.count("### ") == len(SMALL)
        assert "Han VGG16 | SNN conversion | CIFAR-10 | 93.63" in text
        assert " ".join(text.split()).count(SCALES["small"].about[:40]) == 1
        assert "Of 46 claims: holds 0, fails 1, within noise 0, not tested at this scale 45." in text

    def test_order_of_results_does_not_matter_and_numbers_do(self):
        results = all_results(SMALL.values(), lambda training: 50.0 + 0.37 * training.recipe.seed)
        again = dict(reversed(results.items()))
        assert self.text(results) == self.text(again)
        key = next(iter(results))
        assert self.text(results | {key: replace(results[key], result={"test_top1": 1.0})}) != self.text(results)

    def test_states(self):
        study = SMALL["table4"]
        results = all_results([study])
        strange = result_of(study.cells[0].training.with_seed(7))
        text = self.text(results | {strange.key: strange}, failures={SMALL["table8"].cells[1].training.key(): "why"})
        assert (
            "2 of 100 training runs are finished, 1 failed; 1 more, of other seeds or earlier settings, are kept."
            in text
        )

    def test_costs(self):
        results = all_results([SMALL["table4"]])  # 3 epochs of a minute each, twice
        text = self.text(results).partition("## What it cost")[2]
        assert "0.1 hours of training in all" in text
        assert "| a processor, 2 cores | 1 |  | 2.0 |  | 0.1.0 | 2 | 0.1 |" in text
        assert f"`{'0' * 40}` (2)" in text

    def test_lines_are_short_and_tables_end(self):
        for line in self.text(all_results([SMALL["table2"]])).splitlines():
            assert line.startswith("|") or len(line) <= 120

    def test_figures_are_shown_where_there_are_results_for_them(self):
        shown = re.findall(r"^!\[.*\]\(.*/(.*)\.png\)$", self.text(all_results([SMALL["table7"]])), re.MULTILINE)
        assert shown == ["figure4", "steps", "leaks", "operations"]
        assert "## Figures\n\nNone yet." in self.text({})

    def test_written_links_lead_to_what_was_written(self, tmp_path):
        pytest.importorskip("matplotlib", reason="needs matplotlib, the extra 'report'")
        results = all_results([SMALL["table3"]])
        paths = write_page(evidence_of("small", results), tmp_path / "docs" / "results.md", tmp_path / "kept" / "small")
        text = paths[0].read_text()
        targets = re.findall(r"\]\(([^)]+)\)", text)
        assert len(targets) > len(SMALL)
        for target in targets:
            assert (tmp_path / "docs" / target).exists(), target
        assert text == page(evidence_of("small", results), "../kept/small")


def test_a_file_of_the_user_is_not_written_over(tmp_path):
    path = tmp_path / "results.md"
    path.write_text("mine")
    with pytest.raises(UserError, match="results.md exists and was not made by sresnet"):
        write_page(evidence_of("small", {}), path, tmp_path / "kept")
    assert [each.name for each in tmp_path.iterdir()] == ["results.md"]
    path.unlink()
    write_page(evidence_of("small", {}), path, tmp_path / "kept")
    write_page(evidence_of("tiny", {}), path, tmp_path / "kept")  # a page of ours is
    assert path.read_text().startswith(MARK.format(scale="tiny"))


def test_a_page_says_how_far_the_other_scale_is():
    medium = all_results([studies_at("medium")["table3"]])
    assert other_scale("small", {}).endswith(": none of its 26 training runs has been run yet.")
    assert other_scale("small", medium).endswith(": 6 of its 26 training runs are finished.")
    assert other_scale("medium", all_results([SMALL["table3"]])).startswith("Scale `small`, smaller networks")
    assert other_scale("tiny", medium) == other_scale("paper", medium) == ""
    text = " ".join(page(evidence_of("small", {}), other=other_scale("small", {})).split())
    before = text.partition("## What the paper says")[0]
    assert "none of its 26 training runs has been run yet." in before


@pytest.mark.parametrize("name", ["results.md", "results-small.md"])
def test_the_committed_page_is_made_of_the_committed_results(name):
    path = ROOT / "docs" / name
    if not path.exists():
        pytest.skip("no page of results is committed")
    text = path.read_text()
    scale = next((name for name in ScaleName.__args__ if text.startswith(MARK.format(scale=name))), None)
    assert scale, "the page does not say its scale"
    kept = ROOT / "results" / "studies" / scale
    evidence = evidence_of(scale, read(kept), read_failures(kept), read_records(SEARCHES))
    other = other_scale(scale, read(kept.parent / OTHER_SCALE.get(scale, "none")))
    assert text == page(evidence, other=other), "make the page again"


def written_tables(text):
    """Study -> its rows, header -> cell, of the tables of a page in Markdown."""
    found = {}
    for table, name in re.findall(r"((?:^\|.*\n)+)\n(?:[^|[].*\n+)*\[(.*)\.csv\]", text, re.MULTILINE):
        header, _, *lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
        found[name] = [dict(zip(header, line, strict=True)) for line in lines]
    return found


def test_another_folder_of_searches_has_to_be_there(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    for folder in ("none", "file"):
        assert main(["study", "table9", "--show", "--searches", folder]) == 2
        assert f"searches '{folder}' is no folder: give one of records" in capsys.readouterr().err


def test_terminal_markdown_csv_and_html_show_the_same_rows(tmp_path, capsys, monkeypatch):
    """Every study of the committed results: mean, deviation and number of seeds, all seeds that were run."""
    kept = ROOT / "results" / "studies" / "small"
    monkeypatch.chdir(tmp_path)
    places = ["--results", str(kept), "--searches", str(SEARCHES)]
    assert main(["study", "all", "--scale", "small", "--show", *places]) == 0
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert main(["report", "all", "--scale", "small", *places, "-o", "r.html", "--files", "files"]) == 0
    html = (tmp_path / "r.html").read_text()
    results, searches = read(kept), read_records(SEARCHES)
    pages = written_tables(page(evidence_of("small", results, read_failures(kept), searches)))
    for name, study in SMALL.items():
        rows = rows_of(study, results, searches=searches)
        table = re.search(f'<table [^>]*aria-labelledby="table-{name}">.*?</table>', html, flags=re.DOTALL)[0]
        headings = [unescape(each) for each in re.findall(r'<button type="button">(.*?)</button>', table)]
        cells = [
            re.findall("<td.*?>(.*?)</td>", line)
            for line in re.findall("<tr>(.*?)</tr>", table.partition("<tbody>")[2], flags=re.DOTALL)
        ]
        with (tmp_path / f"files/{name}.csv").open(newline="") as file:
            data = list(csv.DictReader(file))
        with (kept / "tables" / f"{name}.csv").open(newline="") as file:
            assert data == list(csv.DictReader(file))
        assert len(rows) == len(pages[name]) == len(cells) == len(data) == len(study.cells)
        for row, one, two, three in zip(rows, pages[name], cells, data, strict=True):
            texts = row.texts()
            costs = COST_HEADER if study.costs else ()
            words = [texts[heading] for heading in ("row", "column", "paper", "measured", "seeds", *costs)]
            assert " ".join(" ".join(words).split()) in shown
            assert one == texts
            assert [unescape(each) for each in two] == [texts[heading] for heading in headings]
            assert {text for heading, text in texts.items() if heading not in headings} <= {""}
            values = [float(value) for value in three["values"].split()]
            assert tuple(values) == row.values
            assert three["mean"] == ("" if row.mean is None else str(round(fmean(values), 6)))
            assert three["seeds"] == ("" if row.seeds is None else str(row.seeds))
            assert (float(three["standard_deviation"]) if len(values) > 1 else "") == (
                round(row.deviation, 6) if row.deviation is not None else three["standard_deviation"]
            )
    several = rows_of(SMALL["table7"], results)[-3]
    assert several.texts()["measured"] == "44.47 ± 0.95"
    assert several.seeds == 3 > SMALL["table7"].seeds
