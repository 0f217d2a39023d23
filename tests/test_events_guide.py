"""The guide of docs/events.md: its example is made and trained as the page says."""

import json
import re
import shlex
import time

import pytest
import torch

from sresnet.cli import main
from tests.test_docs import ROOT, blocks


@pytest.fixture
def section(tmp_path, monkeypatch):
    """The text of the example, in an empty folder, with caches of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    torch.set_num_threads(1)
    text = (ROOT / "docs" / "events.md").read_text()
    return re.search(r"### The same without a camera\n(.*?)\n## ", text, re.DOTALL)[1]


@pytest.mark.slow
def test_gestures_in_a_list_are_learnt_in_less_than_a_minute(section, tmp_path, capsys):
    page = tmp_path / "section.md"
    page.write_text(section)
    ((_, code),) = blocks(page, "python")
    exec(compile(code, "docs/events.md", "exec"), {"__name__": "guide"})
    ((_, commands),) = blocks(page, "console")
    started = time.process_time()
    for line in commands.splitlines():
        assert main(shlex.split(line)[1:]) == 0, line
    assert time.process_time() - started < 60
    said = capsys.readouterr().out
    assert "note: 45 rows by class: bar 15, cross 15, disc 15" in said
    assert "split official: recordings 36 train, 9 test" in said
    assert re.search(r"^gestures/person4.npz: (bar|cross|disc) ", said, re.MULTILINE)
    result = json.loads((tmp_path / "runs" / "gestures" / "result.json").read_text())
    assert result["test_top1"] > 80  # by chance 33
    assert json.loads((tmp_path / "runs" / "gestures" / "data.json").read_text())["sensor"]["width"] == 32
