"""Rows: what is measured, what is missing and what failed can be told apart."""

from dataclasses import replace

from sresnet.models import build, num_parameters
from sresnet.studies.rows import DATA_HEADER, HEADER, _seeds_of, rows_of, spread
from sresnet.studies.searches import in_words
from tests.search.made_up import LEAKS, all_searches, search_of
from tests.studies.made_up import all_results, studies_at

SMALL = studies_at("small")


def texts(study, results, failures=None):
    return [row.texts() for row in rows_of(study, results, failures)]


def test_headings_are_those_of_texts_and_data():
    for row in rows_of(SMALL["table4"], {}):
        assert tuple(row.texts()) == HEADER
        assert tuple(row.data()) == DATA_HEADER
        assert set(row.numbers()) < set(HEADER)


def test_nothing_is_there():
    for row in texts(SMALL["table2"], {}):
        assert (row["measured"], row["seeds"], row["difference"]) == ("not run", "0 of 3", "")
        assert float(row["paper"]) > 60


def test_mean_deviation_and_difference():
    study = SMALL["table3"]
    results = all_results([study], lambda training: 50.0 + training.recipe.seed)
    row = texts(study, results)[0]
    assert (row["row"], row["paper"], row["target"]) == ("S-ResNet20", "90.89", "")
    assert (row["measured"], row["seeds"], row["difference"]) == ("51.00 ± 1.00", "3", "-39.89")
    assert row["protocol"] == "last epoch"


def test_some_seeds():
    study = SMALL["table3"]
    results = all_results([replace(study, seeds=2)])
    assert {row["seeds"] for row in texts(study, results)} == {"2 of 3"}


def test_seeds_that_another_study_asks_for_count():
    results = all_results([SMALL["table16"]], lambda training: 50.0 + training.recipe.seed)
    row = texts(SMALL["table10"], results)[0]
    assert (row["measured"], row["seeds"]) == ("51.00 ± 1.00", "3")


def test_the_target_is_what_a_difference_is_to():
    results = all_results([SMALL["table2"]])
    row = next(row for row in texts(SMALL["table7"], results) if row["seeds"] == "3")
    assert (row["paper"], row["target"], row["difference"]) == ("92.66", "94.01", "-44.01")


def test_failures_are_named_and_do_not_hide_seeds_that_did_not_fail():
    study = SMALL["table4"]
    poisson, image = (cell.training.key() for cell in study.cells)
    results, failures = all_results([study]), {poisson: "loss is nan"}
    results.pop(poisson)
    first, second = texts(study, results, failures)
    assert first["measured"] == "failed"
    assert first["note"].startswith("seed 0 failed: loss is nan; the released code's encoder")
    assert second["measured"] == "50.00"
    more = replace(study, seeds=2)
    results = all_results([more])
    results.pop(image)
    second = texts(more, results, {image: "no room"})[1]
    assert (second["measured"], second["seeds"], second["note"]) == ("50.00", "1 of 2", "seed 0 failed: no room")


def test_a_start_that_failed_is_the_reason():
    study = SMALL["table12"]
    start = study.cells[1].training.start
    rows = texts(study, {}, {start.key(): "the disk is full"})
    assert rows[1]["measured"] == "failed"
    assert "the disk is full" in rows[1]["note"]
    assert rows[0]["measured"] == "not run"


def test_parameters_are_counted_without_training():
    row = texts(studies_at("paper")["table6"], {})[0]
    assert (row["paper"], row["measured"], row["seeds"], row["difference"]) == ("639,760", "639,760", "", "+0")


def test_leaks_have_three_digits():
    search, _, learned = texts(SMALL["table9"], all_results([SMALL["table9"]]))
    assert (search["paper"], search["measured"]) == ("0.889", "0.500")
    assert (learned["measured"], learned["difference"]) == ("0.990", "+0.004")


def test_the_leak_of_a_search_is_that_of_its_six_best_trials():
    row = rows_of(SMALL["table9"], {}, searches=all_searches())[1]
    assert row.values == LEAKS
    text = row.texts()
    assert (text["measured"], text["seeds"], text["difference"]) == ("0.850 ± 0.037", "", "-0.039")
    assert text["protocol"] == "six best trials of a search"
    assert "S-ResNet8, 16 filters, T = 4, cifar10, 20,000 training images, 4,000 of them held out" in text["note"]
    assert "8 trials of at most 5 epochs, 7 trained to the end" in row.data()["note"]
    assert row.data()["values"] == "0.8 0.82 0.84 0.86 0.88 0.9"
    assert rows_of(SMALL["table9"], {})[1].texts()["measured"] == "not run"
    assert in_words(search_of(LEAKS, connection="s2m")).startswith("S-ResNet8 S2M (spikes where u > theta), 16 filters")
    few = rows_of(SMALL["table9"], {}, searches={"cifar100": search_of(LEAKS[:4])})[1]
    assert few.texts()["measured"] == "not run"
    assert "5 trained to the end" in few.texts()["note"]


def test_time_steps_are_said():
    rows = texts(SMALL["table16"], {})
    assert [rows[0]["protocol"], rows[-1]["protocol"]] == ["best test epoch, 5 steps", "best test epoch, 1 step"]


def test_seeds_that_follow_on_those_asked_for():
    cell = SMALL["table3"].cells[0]
    results = all_results([replace(SMALL["table3"], seeds=5)])
    key = {seed: cell.training.with_seed(seed).key() for seed in range(5)}
    assert _seeds_of(cell, 1, results) == [0, 1, 2, 3, 4]
    del results[key[1]]
    assert _seeds_of(cell, 3, results) == [0, 2, 3, 4]
    assert _seeds_of(cell, 1, results) == [0]


def test_what_a_row_says_of_its_network():
    for name in ("table7", "table11"):
        for row, cell in zip(rows_of(SMALL[name], {}), SMALL[name].cells, strict=True):
            assert row.parameters == num_parameters(build(cell.training.recipe.model))
            assert row.simulated == ("cifar10-dvs-sim" if name == "table11" else "")


def test_all_digits():
    study = SMALL["table3"]
    row = rows_of(study, all_results([study], lambda training: 50.0 + training.recipe.seed))[0].data()
    assert (row["mean"], row["standard_deviation"], row["seeds"], row["seeds_wanted"]) == (51.0, 1.0, 3, 3)
    assert (row["values"], row["protocol"]) == ("50.0 51.0 52.0", "last-epoch")
    assert row["difference"] == round(51 - 90.89, 6)
    empty = rows_of(study, {})[0].data()
    assert (empty["mean"], empty["standard_deviation"], empty["seeds"], empty["difference"]) == ("", "", 0, "")


def test_mean_and_deviation_as_text():
    assert spread([1234.5], 1) == "1,234.5"
    assert spread([1.0, 3.0], 2) == "2.00 ± 1.41"
    assert spread([1.0], 2, signed=True) == "+1.00"
