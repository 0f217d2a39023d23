"""`sresnet report`: what is on the page, and what it refuses."""

import itertools
import json
import re
import shlex
import shutil
import xml.etree.ElementTree as ET
from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sresnet.analysis import hardware_view, walk
from sresnet.analysis.confusion import Confusion, ConfusionCounter, ExampleCounter
from sresnet.cli import main
from sresnet.cli.parse import parse
from sresnet.cli.train import TrainOptions, recipe_fields
from sresnet.data import open_data
from sresnet.data.scaling import scaling_from_plain
from sresnet.export.c import to_c
from sresnet.export.chips import CHIPS
from sresnet.export.fitting import fit
from sresnet.export.source import program_for
from sresnet.files import read_json, write_json
from sresnet.models.pretrained import card_of
from sresnet.models.saved import load
from sresnet.printing import printable
from sresnet.report.document import Figure, Paragraph, Section, Table
from sresnet.report.files import MARK
from sresnet.report.html import page
from sresnet.report.inspection import inspect_network
from sresnet.report.png import OFF, ON, picture_of
from sresnet.report.records import Records, records_of
from sresnet.report.run import run_sections
from sresnet.report.run_test import confusions
from sresnet.report.several import Shown, sections_of, title_of
from sresnet.report.svg import _element, _markup, draw
from sresnet.train import record
from sresnet.train.recipes import RECIPES
from tests.analysis.networks import batch, trained
from tests.report.runs import TINY, Reader, read_page, train_tiny

OF_METRICS = {"loss", "accuracy", "learning-rate", "spike-rate", "spike-rate-by-layer", "sent-by-layer"}
FIGURES = {
    *OF_METRICS,
    *("accuracy-over-steps", "accuracy-over-operations", "confusion", "activity", "gamma", "spikes", "operations"),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.set_num_threads(1)
    return train_tiny(tmp_path_factory.mktemp("runs") / "tiny")


@pytest.fixture(scope="module")
def written(run):
    path = run / "report.html"
    assert main(["report", str(run)]) == 0
    return path


def figures_of(elements):
    return {values["id"].removeprefix("figure-") for tag, values in elements if tag == "figure"}


def test_what_is_on_the_page(run, written):
    text, elements = read_page(written)
    result = json.loads((run / "result.json").read_text())
    assert f"{result['test_top1']:.2f} %" in text
    assert "of 359 test images classified correctly, after the last epoch" in text
    assert f"{result['validation_top1']:.2f} %" in text
    assert "SIMULATED" not in text
    assert figures_of(elements) == FIGURES
    environment = json.loads((run / "environment.json").read_text())
    for key in ("sresnet", "torch", "device", "revision"):
        assert environment[key] in text
    assert "180 to train on, 20 held out, 359 to test on" in text
    assert "The pass for this page found" not in text  # the same images, machine and precision give the same number


def test_hardware(written):
    """Counted as `hardware_view` does; that these forms give what the network gives is tested with it."""
    text, _ = read_page(written)
    view = hardware_view(load(written.parent), (8, 8))
    assert "s2s sends sums of spikes" in text
    assert f"single spikes {view.synapses - view.extra_synapses:,} 6 {view.extra_synapses:,} 0" in text
    graded = f"{view.intermediate_synapses:,} {view.intermediate_neurons:,}"
    assert f"sums, as graded spikes {view.synapses - view.extra_synapses:,} 0 {graded}" in text
    assert "need weights per step" in text
    assert "1 of 1x1 /2, 2 of 1x1 /4" in text  # the readout: stage 3 alone would be one to one


def test_deployment(run, written, tmp_path):
    """Memory as the file in C has it, which is tested with it; then what was exported, and how it compared."""
    text, _ = read_page(written)
    made = [to_c(load(run), torch.zeros(1, 1, 8, 8), weight_bits=each) for each in (32, 8, 4)]
    for bits, each in zip((32, 8, 4), made, strict=True):
        assert f"{bits} {each.weights:,} {each.state:,} {each.weights + each.state:,}" in text
    assert "NIR: stem.norm has a gain for each time step" in text or find_spec("nir") is None
    assert "Nothing has been exported yet: sresnet export tiny --to onnx" in text
    program, _ = program_for(load(run).eval(), torch.zeros(1, 1, 8, 8), write_out="binary")
    for chip in CHIPS.values():
        found = fit(load(run), program, (8, 8), chip, weight_bits=8, events=False)
        cores = "" if found.needed is None else f"{found.needed} "
        there = sum(each.count for each in chip.cores)
        assert f"{chip.name} single spikes {cores}{there} {', '.join(found.reasons) or 'fits'}" in text
        assert f"{chip.name} as it is" in text
    again = shutil.copytree(run, tmp_path / "again")
    flags = "--to torch-export --num-steps 1 --images 30 --out".split()
    assert main(["export", str(again), *flags, str(tmp_path / "one.pt2")]) == 0
    assert main(["export", str(again), *flags, str(tmp_path / "two.pt2")]) == 0
    assert main(["export", str(again), *flags, str(tmp_path / "two.pt2"), "--force"]) == 0
    assert main(["report", str(again), "--images", "10"]) == 0
    text, _ = read_page(again / "report.html")
    for name in ("one", "two"):
        size = (tmp_path / f"{name}.pt2").stat().st_size
        found = re.findall(rf"{name}.pt2 torch.export 32 {size:,} 30 (\S+) (\S+) (\d+) of (\d+) (\d+) of (\d+)", text)
        assert len(found) == 1
        before, after, *counts = found[0]
        assert before == after
        assert int(counts[1]) + int(counts[3]) == 30
    assert "Nothing has been exported yet" not in text


def test_what_was_exported_is_on_the_page_of_a_run_whose_data_are_gone(run, tmp_path):
    again = shutil.copytree(run, tmp_path / "again")
    assert main(["export", str(again), *"--to torch-export --num-steps 1 --images 5".split()]) == 0
    (again / "weights.safetensors").unlink()
    assert main(["report", str(again)]) == 0
    text, _ = read_page(again / "report.html")
    assert "again.pt2 torch.export 32" in text


def test_a_damaged_note_of_an_export_is_named(run, tmp_path, capsys):
    again = shutil.copytree(run, tmp_path / "again")
    (again / "exports").mkdir()
    (again / "exports" / "one.onnx.json").write_text('{"file": "one.onnx"}')
    assert main(["report", str(again)]) == 2
    error = capsys.readouterr().err
    assert "one.onnx.json lacks the field 'config'" in error
    assert "it is no record of an export: delete it, or export again" in error


def test_an_export_of_a_folder_that_refuses_notes_is_written_and_says_so(run, tmp_path, capsys):
    again = shutil.copytree(run, tmp_path / "again")
    (again / "exports").write_text("in the way")
    assert main(["export", str(again), *"--to torch-export --num-steps 1 --images 5".split()]) == 0
    assert "exports does not know of this file: " in capsys.readouterr().out
    assert (tmp_path / "again.pt2").exists()


def test_nothing_comes_from_elsewhere(written):
    _, elements = read_page(written)
    for _, values in elements:
        assert re.match(r"#|data:image/png;base64,", values.get("src") or values.get("href") or "#")
    html = written.read_text()
    assert "@import" not in html
    assert "url(" not in html


def test_every_figure_says_what_it_is(written):
    html = written.read_text()
    charts = re.findall(r"<svg .*?</svg>", html, flags=re.DOTALL)
    assert len(charts) > len(FIGURES)  # the examples have charts too
    for chart in charts:
        root = ET.fromstring(chart)
        title, description = root[0], root[1]
        assert (title.tag, description.tag) == ("title", "desc")
        assert title.text
        assert description.text
        assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
    names = re.findall(r' id="([^"]+)"', html)
    assert len(names) == len(set(names))


def test_the_command_makes_the_same_run(run, written):
    text, _ = read_page(written)
    line = re.search(r"Trained by (sresnet train .*?) sresnet 0", text)[1]
    _, _, name, *flags = shlex.split(line)
    again = parse(TrainOptions(**recipe_fields(RECIPES[name][1])), flags, "", "").recipe()
    assert again == record.read_recipe(run)


def test_differences_from_the_paper(written):
    text, _ = read_page(written)
    assert "time steps 2 paper 50" in text
    assert "depth 8 paper 38" in text
    assert "data digits paper cifar10" in text
    assert "seed" not in text.partition("What differs")[2].partition("Training")[0]


@pytest.mark.parametrize(
    ("name", "measured", "expected"),
    [
        ("paper-cifar10-s2m", 89.0, "89.27 % in the paper (Table 2); here -0.27 points"),
        ("paper-cifar10-s2s", 95.0, "94.01 % in the paper (Table 2); here +0.99 points"),
    ],
)
def test_the_papers_number_where_the_recipe_is_the_papers(tmp_path, name, measured, expected):
    recipe = replace(RECIPES[name][1], seed=3)
    record.claim(tmp_path, recipe)
    write_json(tmp_path / record.RESULT, {"test_top1": measured, "test_images": 10_000, "split": {}})
    html = page("", run_sections(records_of(tmp_path), "no data", ""))
    (tmp_path / "page.html").write_text(html)
    text, _ = read_page(tmp_path / "page.html")
    assert expected in text
    assert "This recipe is the paper's" in text
    other = replace(recipe, model=replace(recipe.model, num_steps=49))
    write_json(tmp_path / record.CONFIG, record.to_dict(other))
    html = page("", run_sections(records_of(tmp_path), "no data", ""))
    assert "in the paper (" not in html
    assert "paper 50" in html


def test_confusion_is_that_of_the_model(run, written):
    """Counted again by the model itself, all steps and images at once."""
    recipe = record.read_recipe(run)
    test = open_data(recipe.data, "", seed=recipe.seed).test
    scaling = scaling_from_plain(read_json(run / record.DATA))
    with torch.no_grad():
        guesses = load(run)(scaling(test.images)).argmax(1)
    expected = {
        f"{label}, predicted as {guess}: {count} of {int((test.labels == label).sum())}"
        for label in range(10)
        for guess in range(10)
        if (count := int(((test.labels == label) & (guesses == guess)).sum()))
    }
    assert set(re.findall(r"\d, predicted as \d: \d+ of \d+", written.read_text())) == expected


def test_confusions_and_examples_of_made_up_batches():
    model = trained()
    batches = [batch(model, images) for images in (4, 1, 5)]
    confusion, examples = ConfusionCounter(5, 3), ExampleCounter(3, 2)
    walk(model, batches, [confusion, examples])
    images, labels = torch.cat([x for x, _ in batches]), torch.cat([labels for _, labels in batches])
    with torch.no_grad():
        by_step = torch.stack([model(images, num_steps=step).softmax(1) for step in (1, 2, 3)])
    guesses = by_step[-1].argmax(1)
    found = confusion.result()
    assert found.images == 10
    assert found.top1 == pytest.approx(100 * float((guesses == labels).float().mean()))
    for label, guess, count in found.pairs():
        assert label != guess
        assert count == int(((labels == label) & (guesses == guess)).sum())
    chosen = examples.result()
    for right in (True, False):
        classes = list(dict.fromkeys(labels[(guesses == labels) == right].tolist()))[:2]
        assert [each.label for each in chosen if each.right == right] == classes
    for each in chosen:
        assert labels[each.index] == each.label
        assert guesses[each.index] == each.guess
        torch.testing.assert_close(torch.tensor(each.by_step), by_step[:, each.index].float(), atol=1e-5, rtol=1e-4)


HOSTILE = {
    "element": '</script><script>alert("1")</script><img src=x onerror=alert(2)>&amp;\x00',
    "attribute": "\"onload='alert(1)' x=\"' onmouseover=alert(1) y='",
    "ends": "</td></table></title></style></svg></text></section>",
    "comment": "<!-- <![CDATA[ ]]> --><!doctype x><?php ?>",
    "reordered": "user\u202egnp.\u2066exe\u2069\u200f",
    "cut off": "half \ud800 byte \udcff \x1b]0;x\x07 \u2028 &lt &#60; &#x3c",
}


def page_of(run, name, looked):
    """The page of a run, and of two beside each other, in which everything that others name is called `name`."""
    records = records_of(run)
    records = replace(
        records,
        name=name,
        command=f"sresnet train {name}",
        class_names=tuple(f"{index} {name}" for index in range(10)),
        environment={key: name if isinstance(value, str) else value for key, value in records.environment.items()},
    )
    shown = Shown(records, replace(looked, other_data=name))
    without = Shown(records, f"the data are not available: {name}")
    pages = [page(title_of(runs), sections_of(runs)) for runs in ([shown], [shown, shown], [without])]
    return [*pages, page(name, [Section(title=name, short=name, content=(table_of(name), Paragraph(name)))])]


def table_of(name):
    return Table(name="table", title=name, columns=((name, ""), ("other", ".2f")), rows=((name, 1.0), (name, None)))


@pytest.fixture(scope="module")
def looked(run):
    test = open_data(record.read_recipe(run).data, "", seed=0, num_steps=2).test
    return inspect_network(load(run), test, scaling_from_plain(record.read_about(run)), seed=0, images=60)


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_names_are_only_text(run, looked, tmp_path, kind):
    """Names of classes, runs and machines change what is read on a page, and nothing of what it is made of."""
    name = HOSTILE[kind]
    plain = ("a name that does nothing " * 9)[: len(printable(name))]
    for tame, hostile in zip(page_of(run, plain, looked), page_of(run, name, looked), strict=True):
        seen = []
        for html in (tame, hostile):
            (tmp_path / "page.html").write_text(html, encoding="utf-8")  # no half of a character is left
            seen.append(read_page(tmp_path / "page.html"))
        (_, expected), (text, elements) = seen
        assert [(tag, sorted(values)) for tag, values in elements] == [
            (tag, sorted(values)) for tag, values in expected
        ]
        assert [tag for tag, _ in elements].count("script") == 1
        assert not any(key.startswith("on") for _, values in elements for key in values)
        assert [values for tag, values in elements if tag == "img" and not values["src"].startswith("data:")] == []
        assert " ".join(printable(name).split()) in text
        assert printable(re.sub(r"[\n\t]", "", hostile)) == re.sub(r"[\n\t]", "", hostile)


@given(st.text(st.characters()) | st.text(st.sampled_from("<>&\"'/=! -;#xscript\n\t\u202e\x00\x1b\ud800")))
def test_any_text_in_an_element_is_that_text(text):
    reader = Reader()
    reader.feed(_markup(_element("text", text, _element("title", text), id=text)))
    reader.close()
    expected = "".join(part if part in ("\n", "\t") else printable(part) for part in re.split(r"([\n\t])", text))
    assert reader.seen == [("text", {"id": expected}), ("title", {})]
    assert "".join(reader.text) == 2 * expected
    assert reader.open == []


def test_a_page_is_replaced_and_nothing_else_is(run, written, tmp_path, capsys):
    out = tmp_path / "new" / "page.html"
    assert main(["report", str(run), "-o", str(out), "--images", "20"]) == 0
    assert MARK in out.read_bytes()
    text, _ = read_page(out)
    assert "Analysed: 20 of 359 test images, evenly spread." in text
    assert main(["report", str(run), "-o", str(out), "--images", "30"]) == 0
    assert "Analysed: 30 of 359" in out.read_text()
    out.write_text("my own notes, not made by sresnet report")
    capsys.readouterr()
    assert main(["report", str(run), "-o", str(out)]) == 2
    assert "exists and was not made by sresnet: choose another --out" in capsys.readouterr().err
    assert out.read_text() == "my own notes, not made by sresnet report"
    assert main(["report", str(run), "-o", str(tmp_path)]) == 2
    assert "is a folder: name a file" in capsys.readouterr().err


def test_without_data(run, tmp_path, capsys):
    """A run on CIFAR-10 whose files are gone: its records are shown all the same."""
    recipe = record.read_recipe(run)
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    cifar = replace(recipe, data=replace(recipe.data, name="cifar10"))
    write_json(copy / record.CONFIG, record.to_dict(cifar))
    write_json(copy / record.ENVIRONMENT, {"data_dir": "/gone & lost", "sresnet": "0.1.0"})
    assert main(["report", str(copy), "-o", str(tmp_path / "page.html")]) == 0
    assert "note: the data are not available: " in capsys.readouterr().out
    text, elements = read_page(tmp_path / "page.html")
    assert re.search(r"The data are not available: [^:]*/gone & lost", text)
    assert figures_of(elements) == OF_METRICS
    assert "--data-dir '/gone & lost'" in text


@pytest.mark.parametrize(("connection", "shown"), [("s2s", {"sent-by-layer"}), ("s2m", {"spike-rate-by-layer"})])
def test_old_metrics_do_not_pass_sent_values_off_as_spikes(run, tmp_path, connection, shown):
    """Earlier versions wrote what layers send as `spike_rate`; a run may have begun with one of them."""
    recipe = record.read_recipe(run)
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    other = replace(recipe, model=replace(recipe.model, connection=connection))
    write_json(copy / record.CONFIG, record.to_dict(other))
    new = record.read_metrics(run)
    old = [
        {name: value for name, value in line.items() if name not in ("sent", "spikes_per_neuron_and_step")}
        | {"spike_rate": line["sent"]}
        for line in new
    ]
    found = {}
    for name, lines in (("old", old), ("both", [old[0], new[1]])):
        (copy / record.METRICS).write_text("".join(json.dumps(line) + "\n" for line in lines))
        sections = run_sections(records_of(copy), "no data", "")
        found[name] = {each.name for section in sections for each in section.walk() if isinstance(each, Figure)}
    assert found["old"] == {"loss", "accuracy", "learning-rate", *shown}
    assert found["both"] == OF_METRICS


def test_of_many_epochs_some_are_shown(run, tmp_path):
    copy, count = tmp_path / "long", 20_000
    shutil.copytree(run, copy)
    line = record.read_metrics(run)[0]
    lines = [line | {"epoch": epoch, "train_loss": 1 / epoch} for epoch in range(1, count + 1)]
    (copy / record.METRICS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    records = records_of(copy)
    pages = {"one": run_sections(records, "no data", ""), "two": sections_of([Shown(records, "no data")] * 2)}
    for name, sections in pages.items():
        (tmp_path / "page.html").write_text(page("", sections))
        text, _ = read_page(tmp_path / "page.html")
        assert (tmp_path / "page.html").stat().st_size < 2_500_000
        assert "400 of 20,000 epochs are shown, evenly spread" in text
        assert ("Curves show 400 epochs, evenly spread" in text) == (name == "two")
        assert "400 of the epochs, evenly spread" in text
    (loss,) = [each for each in pages["one"][1].walk() if isinstance(each, Figure) and each.name == "loss"]
    assert "1 at epoch 1, 5e-05 at 20 k" in draw(loss.chart, loss.name)
    (table,) = [each for each in pages["one"][1].walk() if isinstance(each, Table)]
    epochs = [row[0] for row in table.rows]
    assert (epochs[0], epochs[-1], len(epochs)) == (1, count, 400)
    assert {later - earlier for earlier, later in itertools.pairwise(epochs)} == {50, 51}
    (spikes,) = [each for each in pages["one"][1].walk() if isinstance(each, Figure) and "rate-by" in each.name]
    labels = re.findall(r">([\d.]+(?: k)?)<", draw(spikes.chart, spikes.name))
    assert [text for text in labels if text.endswith(" k")] == ["5 k", "10 k", "15 k", "20 k"]


def test_train_writes_it_at_the_end(tmp_path, capsys):
    run = train_tiny(tmp_path / "run", "--report")
    assert f"report: {run / 'report.html'}" in capsys.readouterr().out.splitlines()
    text, elements = read_page(run / "report.html")
    assert f"{read_json(run / record.RESULT)['test_top1']:.2f} %" in text
    assert figures_of(elements) == FIGURES
    (run / "report.html").write_text("mine")
    train_tiny(run)  # the run is finished, and no page is asked for
    assert main(["train", "digits", *TINY, "--out", str(run), "--report"]) == 2
    assert (run / "report.html").read_text() == "mine"


def test_an_unfinished_run(run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    for name in ("result.json", "weights.safetensors", "report.html"):
        (copy / name).unlink(missing_ok=True)
    assert main(["report", str(copy)]) == 0
    text, elements = read_page(copy / "report.html")
    assert "This run is not finished" in text
    assert "loss" in figures_of(elements)
    assert "confusion" not in figures_of(elements)


def test_a_network_of_the_package(tmp_path):
    assert main(["report", "digits-t4", "-o", str(tmp_path / "page.html"), "--images", "20"]) == 0
    text, elements = read_page(tmp_path / "page.html")
    assert f"{card_of('digits-t4').test_top1:.2f} %" in text
    assert "confusion" in figures_of(elements)
    assert "loss" not in figures_of(elements)


def test_something_that_is_no_run(tmp_path, capsys):
    assert main(["report", str(tmp_path / "nothing")]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert main(["report", str(tmp_path)]) == 2
    assert "holds no config.json" in capsys.readouterr().err
    assert main(["report", "digits-t4", "--images", "-1"]) == 2
    assert "is less than 0" in capsys.readouterr().err


def test_numbers_of_tables_keep_their_value_beside_their_text(tmp_path):
    table = Table(
        name="t",
        title="T",
        columns=(("name", ""), ("number", ",.1f")),
        rows=(("a", 1234.56), ("b", None), ("<b>", 7)),
    )
    (tmp_path / "page.html").write_text(page("T", [Section(title="S", content=(table,))]))
    text, elements = read_page(tmp_path / "page.html")
    assert [values["data-value"] for tag, values in elements if tag == "td" and "data-value" in values] == [
        "1234.56",
        "7.0",
    ]
    assert "1,234.6" in text
    assert "<b>" in text


def test_on_events_are_orange_and_off_events_blue():
    frames = torch.zeros(3, 2, 2, 2, dtype=torch.uint8)  # channel 0 is OFF, channel 1 is ON
    frames[:, 0, 0, 0] = 2
    frames[:, 1, 1, 1] = 2
    found = picture_of(frames)
    assert found[0, 0].tolist() == list(OFF)
    assert found[1, 1].tolist() == list(ON)
    assert found[0, 1].tolist() == [255, 255, 255]


def test_mistakes_of_a_hundred_classes_are_named():
    """Beside the matrix the 20 most frequent, in it some classes, the first and last among them."""
    classes = 100
    counts = [[9 if row == column else 0 for column in range(classes)] for row in range(classes)]
    for row in range(30):
        counts[row][99 - row] = 40 - row
    names = tuple(f"animal {number}" for number in range(classes))
    records = Records(
        name="a",
        recipe=RECIPES["cifar100"][1],
        command="",
        environment={},
        class_names=names,
        metrics=(),
        result={},
    )
    figure, worst, by_class = confusions(records, Confusion(counts=tuple(map(tuple, counts)))).content
    assert worst.title == "The 20 most frequent mistakes"
    assert [row[:3] for row in worst.rows] == [(f"animal {row}", f"animal {99 - row}", 40 - row) for row in range(20)]
    assert len(by_class.rows) == 100
    drawn = ET.fromstring(draw(figure.chart, "n"))
    labels = [text.text for text in drawn.iter("text")]
    assert labels.count("animal 0") == labels.count("animal 99") == 2
    assert 30 < len(labels) < 60
    told = [title.text for title in drawn.iter("title")]
    assert "animal 3, predicted as animal 96: 37 of 46" in told
