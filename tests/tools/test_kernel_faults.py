"""The record of faults in the kernels, and how it is made; the tests that notice them are in tests/ops/gpu."""

import json
import tomllib

from tests.ops.gpu.test_check import FAULTS
from tests.scripts import script

faults = script("tools/kernel_faults")


def test_what_nothing_noticed_is_judged():
    record = json.loads(faults.RESULT.read_text())
    judged = tomllib.loads(faults.JUDGED.read_text())
    assert len(record["mutants"]) == 60
    assert faults.unnoticed(record, judged) == []
    assert faults.PAGE.read_text() == faults.page(record, judged)
    assert set(record["planted"]) <= set(FAULTS)
    hole = {"id": "0123456789", "outcome": "survived", "by": ""}
    worse = record | {"mutants": [hole], "planted": {"a": True, "b": False}}
    assert faults.unnoticed(worse, judged) == ["0123456789", "b"]


def test_what_pytest_says_is_read(monkeypatch, tmp_path):
    (tmp_path / "code.py").write_text("x = 1\n")
    mutant = faults.Finder("code.py", b"x = 1\n").found[0]
    seen = []

    class Done:
        def __init__(self, returncode, stdout):
            self.returncode, self.stdout = returncode, stdout

    said = [
        Done(1, f"x\nFAILED {faults.COMPARISON}[zero] - assert 1\n"),
        Done(0, "1 passed"),
        Done(4, "no such option"),
    ]

    def asked(tree, *words):
        seen.append((tree / "code.py").read_text())
        return said[len(seen) - 1]

    monkeypatch.setattr(faults, "asked", asked)
    found = [faults.tried(tmp_path, mutant) for _ in range(3)]
    assert found[0] == {"outcome": "killed", "by": f"{faults.COMPARISON}[zero]"}
    assert found[1] == {"outcome": "survived", "by": ""}
    assert found[2] == {"outcome": "killed", "by": "no test can be collected"}
    assert all(text != "x = 1\n" for text in seen)
    assert (tmp_path / "code.py").read_text() == "x = 1\n"
    lines = f"PASSED {faults.PLANTED}[scan, no reset]\nFAILED {faults.PLANTED}[slope, gaussian] - assert None\n"
    monkeypatch.setattr(faults, "asked", lambda tree, *words: Done(1, lines))
    assert faults.planted(tmp_path) == {"scan, no reset": True, "slope, gaussian": False}
