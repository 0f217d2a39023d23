"""Pages in a real browser: headless Chromium, driven by selenium, where both are installed."""

import shutil
from dataclasses import replace

import pytest
import torch

from sresnet.cli import main
from sresnet.report.charts import Axis, Bars, ConfusionMatrix, HeatMap, Line, LineChart
from sresnet.report.document import Figure, Section, Table
from sresnet.report.html import page
from sresnet.report.records import Records
from sresnet.report.several import Shown, sections_of
from sresnet.studies import results
from sresnet.train.recipes import RECIPES
from tests.report.charts import every_chart
from tests.report.runs import train_tiny
from tests.studies.made_up import all_results, studies_at

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.chrome.options import Options  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed: apt-get install chromium-driver"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Headless; with paths given, selenium downloads nothing. Without a sandbox, which needs rights of its own."""
    options = Options()
    options.binary_location = CHROMIUM
    profile = tmp_path_factory.mktemp("profile")
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={profile}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs")
    run = train_tiny(folder / "tiny")
    assert main(["report", str(run), "-o", str(folder / "page.html")]) == 0
    return folder / "page.html"


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """The page of all studies, of made-up results."""
    folder = tmp_path_factory.mktemp("studies")
    for result in all_results(studies_at("tiny").values()).values():
        results.write(folder / "kept", result)
    assert main(["report", "all", "--results", str(folder / "kept"), "-o", str(folder / "page.html")]) == 0
    return folder / "page.html"


def look_at(browser, path, *, width=1280, scheme="light", media="screen"):
    """Open a page as a screen of `width` pixels; what it complained about so far is forgotten."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
    browser.get_log("browser")
    browser.get(path.as_uri())


def brightness(browser, what="backgroundColor"):
    """Mean of red, green and blue, 0 to 255, of the page's background or text."""
    colour = browser.execute_script(f"return getComputedStyle(document.body).{what}")
    channels = [float(word) for word in colour.partition("(")[2].rstrip(")").split(",")[:3]]
    return sum(channels) / 3


def column(table, index):
    return [
        row.find_elements(By.TAG_NAME, "td")[index].text for row in table.find_elements(By.CSS_SELECTOR, "tbody tr")
    ]


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_nothing_complains(browser, report, width, scheme):
    look_at(browser, report, width=width, scheme=scheme)
    for details in browser.find_elements(By.TAG_NAME, "summary"):
        details.click()
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    # What is wider than the page scrolls in a box of its own, so every box ends within the page.
    ends = browser.execute_script(
        "return [...document.querySelectorAll('.scroll, figure, pre, .card, .example')]"
        ".map((box) => box.getBoundingClientRect().right)"
    )
    assert len(ends) > 20
    assert max(ends) <= width


@pytest.mark.parametrize("width", [390, 1280])
def test_a_page_of_studies_fits_too(browser, tables, width):
    look_at(browser, tables, width=width)
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    boxes = browser.execute_script(
        "return [...document.querySelectorAll('.scroll, figure')].map((box) => box.getBoundingClientRect().right)"
    )
    assert len(boxes) > 30
    assert max(boxes) <= width
    drawn = browser.find_elements(By.CSS_SELECTOR, "figure svg")
    assert all(svg_.size["height"] > 50 for svg_ in drawn)


@pytest.mark.parametrize("width", [390, 1280])
def test_thirty_runs_fit(browser, tmp_path, width):
    """Tables scroll by themselves on a phone, and no column is cut on a wide screen; each line has a key of its own."""
    recipe, runs = RECIPES["digits"][1], []
    for place in range(30):
        leak, connection = 0.7 + place // 6 / 20, ("s2s", "s2m", "v2v")[place % 3]
        model = replace(recipe.model, leak=leak, connection=connection, neuron=("lif", "plif")[place // 3 % 2])
        lines = ({"epoch": epoch, "train_top1": 20.0 + place + epoch, "train_loss": 1 / epoch} for epoch in (1, 2, 3))
        made = Records(
            name=f"run-{place}",
            recipe=replace(recipe, model=model),
            command="",
            environment={},
            class_names=(),
            metrics=tuple(lines),
            result={"test_top1": 50.0 + place, "validation_top1": 49.0, "test_images": 359},
        )
        runs.append(Shown(made, "no data"))
    (tmp_path / "page.html").write_text(page("T", sections_of(runs)))
    look_at(browser, tmp_path / "page.html", width=width)
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    tables = browser.find_elements(By.CSS_SELECTOR, "#section1 .scroll")
    assert len(tables) == 2
    for box in tables:
        own, room = (int(box.get_property(name)) for name in ("scrollWidth", "clientWidth"))
        assert own <= room or width < 500
    keys = browser.execute_script(
        "return [...document.querySelectorAll('#table-runs + div td svg')].map((e) => e.outerHTML)"
    )
    assert len(set(keys)) == 30
    folded = browser.find_elements(By.CSS_SELECTOR, "details.folded")
    assert len(folded) == 30
    folded[7].find_element(By.TAG_NAME, "summary").click()
    assert "run-7" in folded[7].text


def test_figures_are_drawn(browser, report):
    look_at(browser, report)
    charts = browser.find_elements(By.CSS_SELECTOR, "figure svg, .example svg")
    assert len(charts) >= 12
    for chart in charts:
        assert chart.aria_role in ("img", "image")
        assert chart.accessible_name
        assert chart.size["width"] > 150
        assert chart.size["height"] > 60
    widths = browser.execute_script("return [...document.images].map((image) => image.naturalWidth)")
    assert set(widths) == {8}


@pytest.mark.parametrize("width", [390, 1280])
def test_text_of_charts_is_large_enough_and_inside(browser, report, width):
    """No label is smaller than 7 pixels or leaves its chart to the left or right."""
    look_at(browser, report, width=width)
    found = browser.execute_script(
        "return [...document.querySelectorAll('svg text')].map((text) => {"
        "const own = text.getBoundingClientRect(), all = text.ownerSVGElement.getBoundingClientRect();"
        "const matrix = text.getScreenCTM();"
        "const size = parseFloat(getComputedStyle(text).fontSize) * Math.hypot(matrix.c, matrix.d);"
        "return [text.textContent, size, own.left - all.left, all.right - own.right]})"
    )
    assert len(found) > 100
    assert [(text, size) for text, size, _, _ in found if size < 7] == []
    assert [(text, left, right) for text, _, left, right in found if left < -1 or right < -1] == []


@pytest.mark.parametrize("width", [390, 1280])
def test_long_names_and_deep_networks_have_room(browser, tmp_path, width):
    """No label leaves its chart, and no name of a row runs into the next."""
    figures = tuple(Figure(name=f"f{at}", chart=chart) for at, chart in enumerate(every_chart()))
    (tmp_path / "page.html").write_text(page("T", [Section(title="S", content=figures)]))
    look_at(browser, tmp_path / "page.html", width=width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    for chart in browser.find_elements(By.CSS_SELECTOR, "figure svg"):
        boxes = browser.execute_script(
            "const all = arguments[0].getBoundingClientRect();"
            "return [...arguments[0].querySelectorAll('text')].map((text) => {const own = text.getBoundingClientRect();"
            "return [text.textContent, own.left - all.left, all.right - own.right, own.top - all.top, "
            "all.bottom - own.bottom]})",
            chart,
        )
        assert [box for box in boxes if min(box[1:]) < -1.5] == []


def test_dark_is_dark_and_paper_is_white(browser, report):
    look_at(browser, report, scheme="light")
    assert brightness(browser) > 230
    assert brightness(browser, "color") < 60
    look_at(browser, report, scheme="dark")
    assert brightness(browser) < 50
    assert brightness(browser, "color") > 200
    line = browser.execute_script("return getComputedStyle(document.querySelector('svg polyline')).stroke")
    assert line == "rgb(86, 180, 233)"
    look_at(browser, report, scheme="dark", media="print")
    assert brightness(browser) > 230
    assert len(browser.print_page()) > 10_000


def test_tables_are_sorted_with_the_keyboard(browser, tmp_path):
    rows = (("b 10", 2.5), ("b 9", None), ("a", 1000.0), ("c", -3))
    table = Table(name="t", title="T", columns=(("name", ""), ("number", ",.1f")), rows=rows)
    (tmp_path / "page.html").write_text(page("T", [Section(title="S", content=(table,))]))
    look_at(browser, tmp_path / "page.html")
    shown = browser.find_element(By.TAG_NAME, "table")
    first, second = shown.find_elements(By.TAG_NAME, "th")
    body = browser.find_element(By.TAG_NAME, "body")

    def focused():
        return browser.switch_to.active_element

    for _ in range(2):  # the box that scrolls, and the first heading in it
        (body if focused().tag_name == "body" else focused()).send_keys(Keys.TAB)
    assert focused() == first.find_element(By.TAG_NAME, "button")
    focused().send_keys(Keys.ENTER)
    assert (first.get_attribute("aria-sort"), second.get_attribute("aria-sort")) == ("ascending", "none")
    assert column(shown, 0) == ["a", "b 9", "b 10", "c"]
    focused().send_keys(Keys.TAB)
    focused().send_keys(Keys.SPACE)
    assert (first.get_attribute("aria-sort"), second.get_attribute("aria-sort")) == ("none", "ascending")
    assert column(shown, 1) == ["-3.0", "2.5", "1,000.0", ""]
    focused().send_keys(Keys.SPACE)
    assert second.get_attribute("aria-sort") == "descending"
    assert column(shown, 1) == ["1,000.0", "2.5", "-3.0", ""]
    first.find_element(By.TAG_NAME, "button").click()
    assert column(shown, 0) == ["a", "b 9", "b 10", "c"]
    assert browser.get_log("browser") == []


def tip(browser):
    """What is told at the moment."""
    (found,) = browser.find_elements(By.CSS_SELECTOR, ".tip")
    return found.text if found.is_displayed() else ""


def values_page(folder, points):
    """A chart of every kind that tells values, with curves of so many points."""
    x, y = Axis(label="epoch"), Axis(label="loss")
    curves = tuple(
        Line(name=name, x=range(points), y=[place + at / points for at in range(points)])
        for place, name in enumerate(("one", "two | three"))
    )
    cells = tuple(tuple(10 * row + column for column in range(points)) for row in range(5))
    rows = tuple(f"stage 1, block {row}" for row in range(5))
    charts = (
        LineChart(title="A", lines=curves, x=x, y=y),
        HeatMap(title="B", rows=cells, row_names=rows, x_label="time step", unit="u", limits=(0, 50)),
        Bars(title="C", row_names=("a", "b"), parts=(("spikes", (1.0, 1234.0)),), x_label="spikes"),
        ConfusionMatrix(title="D", counts=((3, 1), (0, 4)), class_names=("cat", "dog")),
    )
    figures = tuple(Figure(name=chart.title, chart=chart) for chart in charts)
    (folder / "page.html").write_text(page("T", [Section(title="S", content=figures)]))
    return folder / "page.html"


@pytest.mark.parametrize("points", [4, 400])
@pytest.mark.parametrize("width", [390, 1280])
def test_values_are_told_where_they_are_pointed_at(browser, tmp_path, points, width):
    """With a mouse, a finger and the keyboard, in charts of few and of many points alike; nothing is loaded."""
    look_at(browser, values_page(tmp_path, points), width=width)
    charts = browser.find_elements(By.CSS_SELECTOR, "figure svg")
    entry = "entriesOf(arguments[0]).find((each) => each.text === arguments[1])"
    expected = {
        0: [f"one, epoch {points // 2}: 0.5", "two | three, epoch 0: 1"],
        1: ["stage 1, block 3, time step 2: 31"],
        2: ["b, spikes: 1,234"],
        3: ["cat, predicted as dog: 1 of 4"],
    }
    for place, texts in expected.items():
        for text in texts:
            browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", charts[place])
            at = browser.execute_script(
                f"const entry = {entry}, matrix = arguments[0].getScreenCTM();"
                "const at = new DOMPoint(entry.x, entry.y).matrixTransform(matrix); return [at.x, at.y]",
                charts[place],
                text,
            )
            mouse = {"type": "mouseMoved", "x": at[0], "y": at[1]}
            finger = {"type": "touchStart", "touchPoints": [{"x": at[0], "y": at[1]}]}
            for command in ("Input.dispatchMouseEvent", "Input.dispatchTouchEvent"):
                browser.execute_cdp_cmd(command, mouse if "Mouse" in command else finger)
                assert tip(browser) == text
                box = browser.execute_script(
                    "const box = document.querySelector('.tip').getBoundingClientRect(); return [box.left, box.right]"
                )
                assert box[0] >= 0
                assert box[1] <= width
                if "Touch" in command:
                    browser.execute_cdp_cmd(command, {"type": "touchEnd", "touchPoints": []})
                    assert tip(browser) == text  # it stays when the finger is gone
                browser.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": 1, "y": 1})
                browser.find_element(By.TAG_NAME, "body").send_keys(Keys.NULL)
                browser.execute_script("hide()")
    browser.execute_script("document.activeElement.blur(); scrollTo(0, 0)")
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    assert browser.switch_to.active_element == charts[0]
    assert tip(browser) == "one, epoch 0: 0"
    charts[0].send_keys(Keys.ARROW_RIGHT)
    assert tip(browser) == f"one, epoch 1: {1 / points:.4g}"
    charts[0].send_keys(Keys.ARROW_UP)
    assert tip(browser) == f"two | three, epoch 1: {1 + 1 / points:.4g}"
    charts[0].send_keys(Keys.ESCAPE)
    assert tip(browser) == ""
    assert browser.get_log("browser") == []


def test_without_scripts_values_are_titles(browser, tmp_path):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        look_at(browser, values_page(tmp_path, 4))
        assert browser.find_elements(By.CSS_SELECTOR, ".tip") == []
        titles = [
            each.get_attribute("innerHTML") for each in browser.find_elements(By.CSS_SELECTOR, "svg :not(svg) > title")
        ]
        assert "one, epoch 2: 0.5" in titles
        assert "stage 1, block 3, time step 2: 31" in titles
        assert "cat, predicted as dog: 1 of 4" in titles
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_a_complaint_is_noticed(browser, tmp_path):
    """That the log is empty elsewhere means something: a script that the page should not have is reported here."""
    html = page("T", [Section(title="S")]).replace("</body>", "<img src='https://example.invalid/x.png'></body>")
    (tmp_path / "page.html").write_text(html)
    look_at(browser, tmp_path / "page.html")
    assert any("Content Security Policy" in entry["message"] for entry in browser.get_log("browser"))
