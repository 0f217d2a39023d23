"""Networks on the Hugging Face hub: what is sent and fetched, offline, by its folder layout and a stand-in."""

import json
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import sresnet
from sresnet import UserError, files
from sresnet.cli import main
from sresnet.cli.hub import _FILES

hub = pytest.importorskip("huggingface_hub")
errors = pytest.importorskip("huggingface_hub.errors")
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
    card = Path("files/README.md").read_text(encoding="utf-8")
    result = json.loads((run / "result.json").read_text())
    assert card.startswith("---\nlibrary_name: sresnet\n")
    assert "\nlicense: apache-2.0\n" in card
    assert f"{result['test_top1']:.2f} % of 359 test images" in card
    assert "sresnet train digits" in card
    assert "A spiking neural network: sresnet8, 2 filters, T = 2, trained on digits by `sresnet train digits" in card
    assert "\nTest accuracy of the run: " in card
    change(run / "result.json", split=result["split"] | {"simulated": True})
    assert main(["push", str(run), "me/net", "--out", "other"]) == 0
    change(run / "result.json", **result)
    words = Path("other/README.md").read_text(encoding="utf-8")
    assert "\nTest accuracy on simulated recordings of the run: " in words
    assert "license" not in Path("files/README.md").read_text(encoding="utf-8").replace("license: apache-2.0", "")
    environment = json.loads(Path("files/environment.json").read_text(encoding="utf-8"))
    assert not {"data_dir", "cache_dir"} & set(environment)
    assert str(tmp_path.parent) not in Path("files/environment.json").read_text(encoding="utf-8")


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
        ("pull me/other", "me/other on the Hugging Face hub cannot be reached: go online, or "),
        ("push RUN me/net", "me/net on the Hugging Face hub cannot be reached: go online, or "),
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


def test_a_card_for_strangers(run, tmp_path, monkeypatch):
    """No place of this machine, and nothing that is markup or a line of its own, whoever named things."""
    monkeypatch.chdir(tmp_path)
    odd = tmp_path / "secret place" / "run\n# [x](https:evil)"
    shutil.copytree(run, odd)
    names = [
        "a\n\n# head",
        "<script>x</script>",
        "[click](http://x.y)",
        "`|*_",
        "\u202egnp",
        "---",
        "www.x.y",
        "c" * 500,
    ]
    change(odd / "data.json", class_names=[*names, "8", "9"])
    change(odd / "config.json", pretrained=str(tmp_path / "secret place" / "other"))
    places = {
        name: str(tmp_path / name) for name in ("data_dir", "cache_dir", "imported_from", "converted_from", "more")
    }
    change(odd / "environment.json", **places, sessions=[{"from_step": 0, "torch": "1", **places}])
    model = sresnet.load(run)
    model.trained = None
    sresnet.save_model(model, odd / "weights.safetensors")
    assert main(["push", str(odd), "me/net", "--out", "files"]) == 0
    for path in Path("files").iterdir():
        assert str(tmp_path).encode() not in path.read_bytes(), path.name
        assert b"secret" not in path.read_bytes(), path.name
    card = Path("files/README.md").read_text(encoding="utf-8")
    (classes,) = [line for line in card.splitlines() if line.startswith("Classes: ")]
    assert classes.startswith(
        r"Classes: a\\n\\n\# head, \<script\>x\<\/script\>, \[click\]\(http\:\/\/x\.y\), \`\|\*\_, "
    )
    assert [line for line in card.splitlines() if line.startswith("#")] == ["# me/net"]
    assert card.count("---") == 3  # of the head, and a class of that name
    assert len(classes) < 400
    assert "--pretrained another-run" in card
    assert "Licence of the weights: none is given." in card
    assert "Input: 1x8x8." in card
    assert json.loads(Path("files/data.json").read_text(encoding="utf-8"))["channels"] == 1
    assert json.loads(Path("files/environment.json").read_text(encoding="utf-8"))["sessions"] == [
        {"from_step": 0, "torch": "1"}
    ]


@pytest.mark.parametrize("licence", ["no", "true", "Apache 2", "mit\nx: y", "1.0", "-", "[x]"])
def test_a_licence_that_the_head_would_not_hold(run, licence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["push", str(run), "me/net", "--out", "files", f"--licence={licence}"]) == 2
    assert "is no name of a licence on the hub" in capsys.readouterr().err
    assert not Path("files").exists()


def change(path, **fields):
    """Other values in a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_what_is_too_large_is_not_fetched(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sizes = {"config.json": 100, "README.md": 10, "weights.safetensors": 3_000_000_000}

    def listed(name, *, revision, allow_patterns, dry_run=False):
        assert dry_run, "it was fetched"
        assert set(allow_patterns) == set(_FILES)
        return [SimpleNamespace(filename=each, file_size=size, commit_hash=COMMIT) for each, size in sizes.items()]

    monkeypatch.setattr(hub, "snapshot_download", listed)
    for name, complaint in (
        ("weights.safetensors", "me/net/weights.safetensors claims 3.0 GB of memory"),
        ("config.json", "me/net/config.json has 3,000,000,000 bytes, more than the 16,777,216"),
        ("README.md", "me/net/README.md has 3,000,000,000 bytes, more than the 1,048,576"),
    ):
        sizes |= dict.fromkeys(sizes, 10) | {name: 3_000_000_000}
        assert main(["pull", "me/net"]) == 2
        said = capsys.readouterr().err
        assert complaint in said
        assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_what_was_looked_at_is_fetched_and_others_files_are_left(run, cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["push", str(run), "me/net", "--out", "files"]) == 0
    snapshot = fetched_before(cache, "files")
    for more in ("evil.py", "weights.bin", "sub/config.json"):
        (snapshot / more).parent.mkdir(exist_ok=True)
        (snapshot / more).write_text("x")
    asked = []

    def stand_in(name, *, revision, allow_patterns, dry_run=False):
        asked.append(revision)
        whole = [SimpleNamespace(filename="config.json", file_size=10, commit_hash=COMMIT)]
        return whole if dry_run else str(snapshot)

    monkeypatch.setattr(hub, "snapshot_download", stand_in)
    sessions = [{"from_step": 0, "torch": ["2"], "sessions": 5}, {"from_step": 3, "sessions": [{"data_dir": "/etc"}]}]
    change(snapshot / "environment.json", data_dir="/etc", cache_dir="/etc", more={"deep": [1]}, sessions=sessions)
    assert main(["pull", "me/net", "--revision", "v2"]) == 0
    assert asked == ["v2", COMMIT]
    assert {path.name for path in Path("runs/net").iterdir()} - {".lock"} == set(_FILES)
    words = Path("runs/net/environment.json").read_text(encoding="utf-8")
    assert json.loads(words)["sessions"] == [{"from_step": 0}, {"from_step": 3}]
    assert not {"data_dir", "cache_dir", "more"} & set(
        json.loads(Path("runs/net/environment.json").read_text(encoding="utf-8"))
    )


HOSTILE = {
    "a link out": lambda each: (each.unlink(), each.symlink_to("/etc/hostname")),
    "a link to nothing": lambda each: (each.unlink(), each.symlink_to("../../blobs/none")),
    "a folder": lambda each: (each.unlink(), each.mkdir()),
    "a pipe": lambda each: (each.unlink(), os.mkfifo(each)),
    "large": lambda each: os.truncate(each, 5_000_000_000),
    "empty": lambda each: os.truncate(each, 0),
    "no text": lambda each: each.write_bytes(b"\xff\xfe\x00"),
    "a list": lambda each: each.write_text("[]"),
    "deep": lambda each: each.write_text("[" * 100_000 + "]" * 100_000),
    "numbers": lambda each: each.write_text('{"seed": 1e999, "test_top1": NaN, "class_names": 3, "threads": "x"}'),
}


@pytest.mark.parametrize("name", [name for name in _FILES if name != "README.md"])
@pytest.mark.parametrize("kind", HOSTILE)
def test_strangers_files_become_no_run(run, cache, kind, name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["push", str(run), "me/net", "--out", "files"]) == 0
    snapshot = fetched_before(cache, "files")
    HOSTILE[kind](snapshot / name)
    shutil.rmtree("files")
    capsys.readouterr()
    assert main(["pull", "me/net"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "me/net" in said
    assert "/tmp" not in said.replace(str(cache), "")
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


@pytest.mark.parametrize("kind", ["a link out", "a folder", "a pipe", "large"])
def test_a_card_of_strangers(run, cache, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["push", str(run), "me/net", "--out", "files"]) == 0
    HOSTILE[kind](fetched_before(cache, "files") / "README.md")
    assert main(["pull", "me/net"]) == 2
    assert not Path("runs").exists()


def test_a_full_disk_leaves_nothing(run, cache, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["push", str(run), "me/net", "--out", "files"]) == 0
    fetched_before(cache, "files")

    def full(path, content, whole=files.write_whole):
        if "new" in path.parts and path.name == "weights.safetensors":
            raise UserError("no room")
        whole(path, content)

    monkeypatch.setattr("sresnet.cli.hub.write_whole", full)
    (tmp_path / "empty").mkdir()
    for out in ("new/a/b", "empty/new", "new"):
        assert main(["pull", "me/net", "--out", out]) == 2
        assert "no room" in capsys.readouterr().err
    assert not Path("new").exists()
    assert list(Path("empty").iterdir()) == []


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (errors.OfflineModeIsEnabled("x"), "net on the Hugging Face hub cannot be reached: go online"),
        (ConnectionError("x"), "the Hugging Face hub cannot be reached: go online"),
        (errors.LocalEntryNotFoundError("x"), "hub cannot be reached: go online"),
        (OSError(28, "No space left"), "No space left"),
        (ValueError("a\nb" * 1000), "a ba b"),
    ],
)
def test_what_the_hub_raises_is_one_line(tmp_path, monkeypatch, capsys, error, words):
    monkeypatch.chdir(tmp_path)

    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(hub, "snapshot_download", refuse)
    assert main(["pull", "me/net"]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["no weights", "cut", "two runs", "others", "another network"])
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
    elif damage == "another network":
        recipe = json.loads((snapshot / "config.json").read_text())
        change(snapshot / "config.json", model=recipe["model"] | {"leak": 0.5})
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
