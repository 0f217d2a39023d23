"""Networks on the Hugging Face hub: what is sent and fetched, offline, by its folder layout and a stand-in."""

import json
import shutil
import sys
from pathlib import Path

import pytest

import sresnet
from sresnet.cli import main
from sresnet.cli.hub import _FILES

hub = pytest.importorskip("huggingface_hub")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "run"
    words = "--model.base-filters 2 --model.num-steps 2 --train.epochs 1 --train.batch-size 64".split()
    assert main(["train", "digits", *words, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of the hub, which is offline."""
    place = tmp_path / "cache"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(place))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return place


def fetched_before(cache, files):
    """Lay files into the cache as if the hub had sent them."""
    place = cache / "models--me--net"
    snapshot = place / "snapshots" / COMMIT
    shutil.copytree(files, snapshot)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(COMMIT)
    return snapshot


def test_what_is_pushed_is_pulled_as_a_run(run, cache, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["push", str(run), "me/net", "--out", "files", "--licence", "apache-2.0"]) == 0
    assert {path.name for path in Path("files").iterdir()} == set(_FILES)
    fetched_before(cache, "files")
    assert main(["pull", "me/net"]) == 0
    assert "run folder: runs/net" in capsys.readouterr().out
    accuracies = []
    for each in (run, "runs/net"):
        assert main(["evaluate", str(each), "--json"]) == 0
        accuracies.append(json.loads(capsys.readouterr().out)["top1"])
    assert accuracies[0] == accuracies[1]
    assert sresnet.load("runs/net").trained.class_names == tuple("0123456789")
    assert main(["report", "runs/net", "--images", "5"]) == 0


def test_the_card_and_no_places_of_this_machine(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["push", str(run), "me/net", "--out", "files", "--licence", "apache-2.0"]) == 0
    card = Path("files/README.md").read_text()
    result = json.loads((run / "result.json").read_text())
    assert card.startswith("---\nlibrary_name: sresnet\n")
    assert "\nlicense: apache-2.0\n" in card
    assert f"{result['test_top1']:.2f} % of 359 test images" in card
    assert "sresnet train digits" in card
    assert "license" not in Path("files/README.md").read_text().replace("license: apache-2.0", "")
    environment = json.loads(Path("files/environment.json").read_text())
    assert not {"data_dir", "cache_dir"} & set(environment)
    assert str(tmp_path.parent) not in Path("files/environment.json").read_text()


def test_push_makes_the_repository_and_sends_the_folder(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    calls = []

    class Api:
        def __init__(self, library_name):
            calls.append(library_name)

        def create_repo(self, name, *, private, exist_ok):
            calls.append((name, private, exist_ok))

        def upload_folder(self, *, repo_id, folder_path, commit_message):
            calls.append((repo_id, sorted(path.name for path in Path(folder_path).iterdir())))

    monkeypatch.setattr(hub, "HfApi", Api)
    assert main(["push", str(run), "me/net", "--private"]) == 0
    assert calls == ["sresnet", ("me/net", True, True), ("me/net", sorted(_FILES))]
    assert "sent: me/net; sresnet pull me/net fetches it" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("pull me/other", "me/other on the Hugging Face hub: "),
        ("push RUN me/net", "me/net on the Hugging Face hub: "),
        ("pull net", "'net' is no name on the hub: give OWNER/NAME"),
        ("pull ../net", "'../net' is no name on the hub"),
        ("pull me/net/more", "is no name on the hub"),
        ("push RUN", "name is missing: say where to"),
        ("push none me/net", "run 'none' does not exist"),
        ("push RUN me/net --out full", "full is not empty: choose another --out"),
        ("pull me/net --out full", "full is not empty (mine.txt): choose another --out"),
    ],
)
def test_mistakes_and_no_network_are_one_line(run, cache, words, complaint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    assert main(words.replace("RUN", str(run)).split()) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert said.count("\n") == 1
    assert (tmp_path / "full" / "mine.txt").exists()
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("damage", ["no weights", "cut", "two runs", "others"])
def test_what_is_no_network_of_ours_becomes_no_run(run, cache, damage, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["push", str(run), "me/net", "--out", "files"]) == 0
    snapshot = fetched_before(cache, "files")
    weights = snapshot / "weights.safetensors"
    if damage == "no weights":
        weights.unlink()
    elif damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-10])
    elif damage == "two runs":
        about = json.loads((snapshot / "data.json").read_text())
        (snapshot / "data.json").write_text(json.dumps(about | {"class_names": ["a"]}))
    else:
        (snapshot / "config.json").write_text("[]")
    capsys.readouterr()
    assert main(["pull", "me/net"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_without_the_package_the_extra_is_named(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert main(["pull", "me/net"]) == 2
    assert "push and pull need huggingface_hub, which is not installed: run pip install 'sresnet[hub]'" in (
        capsys.readouterr().err
    )
