"""The searches that studies read: their commands can be, fit the measures, and go on; records and page are written."""

import pytest

from sresnet.cli.search import _config_of
from sresnet.search.record import read_record, read_records
from sresnet.search.space import PAPERS_VALUES
from sresnet.search.trials import Outcome
from sresnet.studies.searches import BY_CONNECTION, BY_STEPS, FOR_TABLE_9, first_difference
from tests.scripts import script
from tests.search.made_up import all_searches

searches = script("experiments/searches")


def config(name):
    word, *words = searches.SEARCHES[name].words.split()
    return _config_of(word, words)[1]


def test_they_are_those_that_studies_read_at_the_size_that_is_stated():
    assert set(searches.SEARCHES) == {*BY_STEPS.values(), FOR_TABLE_9, *BY_CONNECTION.values()}
    for name, search in searches.SEARCHES.items():
        found = config(name)
        images = (found.recipe.data.train_images or 50_000) * (1 - found.recipe.data.validation)
        assert search.image_epochs == pytest.approx(images * found.recipe.train.epochs)
        assert {"model.leak", "train.learning_rate"} == set(found.space)
        assert found.enqueue == ({field: PAPERS_VALUES[field] for field in found.space},)
    assert {name: round(search.hours, 1) for name, search in searches.SEARCHES.items()} == {
        "cifar10-t2": 0.5,
        "cifar10-t4": 0.9,
        "cifar10-t8": 1.7,
        "cifar100": 3.3,
        "cifar10-s2m": 1.4,
        "cifar10-s2s": 1.4,
    }


def test_those_that_are_compared_are_alike_but_for_what_is_compared():
    for names, field in ((BY_STEPS, "num_steps"), (BY_CONNECTION, "connection")):
        first, *others = (Outcome(config=config(name), trials=()) for name in names.values())
        assert [first_difference(first, each, field) for each in others] == [""] * len(others)
        assert {getattr(each.config.recipe.model, field) for each in (first, *others)} == set(names)
    assert config(FOR_TABLE_9).recipe.data.name == "cifar100"
    assert {config(name).reduction for name in BY_CONNECTION.values()} == {0}


def test_a_search_goes_on_and_is_recorded(tmp_path, monkeypatch, capsys):
    words = (
        "digits --search.leak 0.5:0.999 --model.base-filters 2 --model.num-steps 2 --train.epochs 2 "
        "--train.batch-size 32 --data.train-images 100 --data.validation 0.3"
    )
    monkeypatch.setattr(searches, "RESULTS", tmp_path)
    for trials in (2, 4):
        monkeypatch.setattr(searches, "SEARCHES", {"one": searches.Search(f"{words} --trials {trials}", 140, 3, 100)})
        monkeypatch.setattr("sys.argv", ["searches.py", "data", "one", "--runs", str(tmp_path / "runs")])
        with pytest.raises(SystemExit) as ended:
            searches.main()
        assert ended.value.code == 0
        assert len(read_record(tmp_path / "searches" / "one.json").trials) == trials
    text = (tmp_path / "searches.md").read_text()
    assert "| one | 0.0 | 0.0 | 4," in text
    assert "![Held-out accuracy over leak](searches/one-over-leak.svg)" in text
    assert (tmp_path / "searches" / "one-over-leak.svg").read_text().startswith("<svg")
    monkeypatch.setattr("sys.argv", ["searches.py", "data", "two"])
    with pytest.raises(SystemExit, match="search 'two' is unknown: choose from one"):
        searches.main()


def test_the_page_says_what_was_not_run(tmp_path, monkeypatch):
    some = {name: each for name, each in all_searches().items() if name != "cifar100"}
    text = "\n".join(searches.page(some))
    assert "| cifar100 | 3.3 |  | not run |  |  |" in text
    assert "| cifar10-t2 | 0.5 | 0.1 | 8, 7 to the end | 59.99 | 0.850 ± 0.037 |" in text
    monkeypatch.setattr(searches, "RESULTS", tmp_path)
    (tmp_path / "searches").mkdir()
    searches.write_page(some)
    assert read_records(tmp_path / "searches") == {}  # a page alone
    assert len(list((tmp_path / "searches").glob("cifar10-t2-*.svg"))) == 4
