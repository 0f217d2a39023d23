"""Tables and the page: what is measured, what is missing and what failed can be told apart."""

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import pytest

from sresnet import UserError
from sresnet.studies.page import MARK, markdown, page, table_csv, table_markdown, write_page
from sresnet.studies.results import failures as read_failures
from sresnet.studies.results import read
from sresnet.studies.scale import SCALES, ScaleName
from tests.studies.made_up import all_results, result_of, studies_at

ROOT = Path(__file__).parents[2]
SMALL = studies_at("small")


def rows_of(text):
    """Header -> cell, for each line of a Markdown table."""
    header, _, *lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    return [dict(zip(header, line, strict=True)) for line in lines]


class TestTable:
    def test_nothing_is_there(self):
        for row in rows_of(table_markdown(SMALL["table2"], {})):
            assert (row["measured"], row["seeds"], row["difference"]) == ("not run", "0 of 3", "")
            assert float(row["paper"]) > 60

    def test_mean_deviation_and_difference(self):
        study = SMALL["table3"]
        results = all_results([study], lambda training: 50.0 + training.recipe.seed)
        row = rows_of(table_markdown(study, results))[0]
        assert (row["row"], row["paper"], row["target"]) == ("S-ResNet20", "90.89", "")
        assert (row["measured"], row["seeds"], row["difference"]) == ("51.00 ± 1.00", "3", "-39.89")
        assert row["protocol"] == "last epoch"

    def test_some_seeds(self):
        study = SMALL["table3"]
        results = all_results([replace(study, seeds=2)])
        assert {row["seeds"] for row in rows_of(table_markdown(study, results))} == {"2 of 3"}

    def test_seeds_that_another_study_asks_for_count(self):
        results = all_results([SMALL["table16"]], lambda training: 50.0 + training.recipe.seed)
        row = rows_of(table_markdown(SMALL["table10"], results))[0]
        assert (row["measured"], row["seeds"]) == ("51.00 ± 1.00", "3")

    def test_the_target_is_what_a_difference_is_to(self):
        results = all_results([SMALL["table2"]])
        row = next(row for row in rows_of(table_markdown(SMALL["table7"], results)) if row["seeds"] == "3")
        assert (row["paper"], row["target"], row["difference"]) == ("92.66", "94.01", "-44.01")

    def test_failures_are_named_and_do_not_hide_seeds_that_did_not_fail(self):
        study = SMALL["table4"]
        poisson, image = (cell.training.key() for cell in study.cells)
        results, failures = all_results([study]), {poisson: "loss is nan"}
        results.pop(poisson)
        first, second = rows_of(table_markdown(study, results, failures))
        assert first["measured"] == "failed"
        assert first["note"].startswith("seed 0 failed: loss is nan; the released code's encoder")
        assert second["measured"] == "50.00"
        more = replace(study, seeds=2)
        results = all_results([more])
        results.pop(image)
        second = rows_of(table_markdown(more, results, {image: "no room"}))[1]
        assert (second["measured"], second["seeds"], second["note"]) == ("50.00", "1 of 2", "seed 0 failed: no room")

    def test_a_start_that_failed_is_the_reason(self):
        study = SMALL["table12"]
        start = study.cells[1].training.start
        rows = rows_of(table_markdown(study, {}, {start.key(): "the disk is full"}))
        assert rows[1]["measured"] == "failed"
        assert "the disk is full" in rows[1]["note"]
        assert rows[0]["measured"] == "not run"

    def test_parameters_are_counted_without_training(self):
        row = rows_of(table_markdown(studies_at("paper")["table6"], {}))[0]
        assert (row["paper"], row["measured"], row["seeds"], row["difference"]) == ("639,760", "639,760", "", "+0")

    def test_leaks_have_three_digits(self):
        search, learned = rows_of(table_markdown(SMALL["table9"], all_results([SMALL["table9"]])))
        assert (search["paper"], search["measured"]) == ("0.889", "0.500")
        assert (learned["measured"], learned["difference"]) == ("0.990", "+0.004")

    def test_time_steps_are_said(self):
        rows = rows_of(table_markdown(SMALL["table16"], {}))
        assert [rows[0]["protocol"], rows[-1]["protocol"]] == ["best test epoch, 5 steps", "best test epoch, 1 step"]

    def test_a_bar_in_a_cell_does_not_end_it(self):
        assert markdown(("a", "b"), [("x|y", "two\nlines")]).splitlines()[2] == "| x&#124;y | two lines |"

    def test_csv_has_the_same_numbers(self):
        study = SMALL["table3"]
        results = all_results([study], lambda training: 50.0 + training.recipe.seed)
        lines = list(csv.DictReader(io.StringIO(table_csv(study, results))))
        assert [line["row"] for line in lines] == [cell.row for cell in study.cells]
        assert (lines[0]["mean"], lines[0]["standard_deviation"], lines[0]["seeds"]) == ("51.0", "1.0", "3")
        assert lines[0]["values"] == "50.0 51.0 52.0"
        assert float(lines[0]["difference"]) == pytest.approx(51 - 90.89)
        empty = list(csv.DictReader(io.StringIO(table_csv(study, {}))))
        assert {(line["mean"], line["seeds"], line["difference"]) for line in empty} == {("", "0", "")}


class TestPage:
    def text(self, results, scale="small", failures=None):
        return page(scale, studies_at(scale), results, failures or {})

    def test_which_networks_these_are_comes_first(self):
        text = self.text({})
        assert text.startswith(MARK.format(scale="small"))
        before = " ".join(text.partition("## What the paper says")[0].split())
        assert "**These are not the paper's networks, and their accuracies are not the paper's.**" in before
        assert " ".join(SCALES["small"].about.split()) in before
        assert "0 of 75 trainings are finished." in before
        assert "not the paper's" not in self.text({}, "paper").partition("## What the paper says")[0]

    def test_every_study_and_claim_has_its_place(self):
        text = self.text({})
        assert [f"results/studies/small/tables/{name}.csv" in text for name in SMALL] == [True] * len(SMALL)
        assert text.count("### ") == len(SMALL)
        assert "Han VGG16 | SNN conversion | CIFAR-10 | 93.63" in text
        assert " ".join(text.split()).count(SCALES["small"].about[:40]) == 1
        assert "Of 43 claims: holds 0, fails 1, within noise 0, not tested at this scale 42." in text

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
        assert "2 of 75 trainings are finished, 1 failed; 1 more, of other seeds or earlier settings, are kept." in text

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
        assert shown == ["figure4", "steps", "operations"]
        assert "## Figures\n\nNone yet." in self.text({})

    def test_written_links_lead_to_what_was_written(self, tmp_path):
        pytest.importorskip("matplotlib", reason="needs matplotlib, the extra 'report'")
        results = all_results([SMALL["table3"]])
        paths = write_page("small", SMALL, results, {}, tmp_path / "docs" / "results.md", tmp_path / "kept" / "small")
        text = paths[0].read_text()
        targets = re.findall(r"\]\(([^)]+)\)", text)
        assert len(targets) > len(SMALL)
        for target in targets:
            assert (tmp_path / "docs" / target).exists(), target
        assert text == page("small", SMALL, results, {}, "../kept/small")


def test_a_file_of_the_user_is_not_written_over(tmp_path):
    path = tmp_path / "results.md"
    path.write_text("mine")
    with pytest.raises(UserError, match="results.md exists and was not made by sresnet"):
        write_page("small", SMALL, {}, {}, path, tmp_path / "kept")
    assert [each.name for each in tmp_path.iterdir()] == ["results.md"]
    path.unlink()
    write_page("small", SMALL, {}, {}, path, tmp_path / "kept")
    write_page("tiny", studies_at("tiny"), {}, {}, path, tmp_path / "kept")  # a page of ours is
    assert path.read_text().startswith(MARK.format(scale="tiny"))


def test_the_committed_page_is_made_of_the_committed_results():
    path = ROOT / "docs" / "results.md"
    if not path.exists():
        pytest.skip("no page of results is committed")
    text = path.read_text()
    scale = next((name for name in ScaleName.__args__ if text.startswith(MARK.format(scale=name))), None)
    assert scale, "the page does not say its scale"
    kept = ROOT / "results" / "studies" / scale
    assert text == page(scale, studies_at(scale), read(kept), read_failures(kept)), "make the page again"
