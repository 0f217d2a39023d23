"""Pictures of a report for README.md and docs/report.md: `python docs/pictures/draw.py RUN/report.html` writes them.

Needs selenium, Pillow, Chromium and its driver (`apt-get install chromium chromium-driver`). README.md shows those of
the run that `make demo` makes.
"""

import argparse
import base64
import io
import shutil
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

HERE = Path(__file__).parent
PICTURES = {
    # name: (width in pixels, scheme, first and last section)
    "report": (1280, "light", "header", "#section2 .grid"),
    "report-dark": (1280, "dark", "#section4", "#section6 .grid"),
}
MOST = 250_000
"""Bytes of a picture."""


def main() -> None:
    """Draw all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path)
    report = parser.parse_args().report.resolve()
    options = Options()
    options.binary_location = shutil.which("chromium") or "chromium"
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        for name, (width, scheme, first, last) in PICTURES.items():
            content = smaller(picture(browser, report, width, scheme, first, last))
            assert len(content) < MOST, (name, len(content))
            (HERE / f"{name}.png").write_bytes(content)
            print(f"{HERE / name}.png: {len(content):,} bytes")
    finally:
        browser.quit()


def picture(browser: webdriver.Chrome, report: Path, width: int, scheme: str, first: str, last: str) -> bytes:
    """A PNG of the page from the top of `first` to the bottom of `last`, which are CSS selectors."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(report.as_uri())
    box = "return document.querySelector(arguments[0]).getBoundingClientRect()"
    top, bottom = browser.execute_script(f"{box}.top", first), browser.execute_script(f"{box}.bottom", last)
    clip = {"x": 0, "y": top, "width": width, "height": bottom - top + 20, "scale": 1}
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    return base64.b64decode(shot["data"])


def smaller(content: bytes) -> bytes:
    """The same picture in a smaller file."""
    file = io.BytesIO()
    Image.open(io.BytesIO(content)).convert("RGB").save(file, "png", optimize=True)
    return file.getvalue()


if __name__ == "__main__":
    main()
