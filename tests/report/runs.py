"""Run folders to report on, trained in a second, and ways to look into a page."""

import re
from html.parser import HTMLParser

from sresnet.cli import main

TINY = (
    "--model.base-filters 2 --model.num-steps 2 --train.epochs 2 --data.train-images 200 --data.validation 0.1".split()
)


def train_tiny(folder, *more):
    """A run on 200 digits, into `folder`."""
    assert main(["train", "digits", *TINY, *more, "--out", str(folder)]) == 0
    return folder


class Reader(HTMLParser):
    """Checks that tags are closed in order, and keeps all text and what each element was."""

    VOID = ("meta", "img", "br")

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.seen, self.text = [], [], []

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text.append(data)


def read_page(path):
    """(all text in one line, [(tag, attributes)]) of a page that is well formed."""
    reader = Reader()
    reader.feed(path.read_text())
    reader.close()
    assert reader.open == []
    return re.sub(r"\s+", " ", " ".join(reader.text)).strip(), reader.seen
