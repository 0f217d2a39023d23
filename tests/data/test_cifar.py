import dataclasses
import hashlib
import io
import os
import pickle
import subprocess
import sys
import tarfile
from pathlib import Path

import made_up_cifar as made_up
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sresnet.data import cifar
from sresnet.data.cifar import _parse_binary_batch, _parse_python_batch, load_cifar, locate
from sresnet.errors import UserError

NAMES = {"cifar10": [f"kind_{i}" for i in range(10)], "cifar100": [f"kind_{i}" for i in range(100)]}


def digest(content):
    return hashlib.md5(content).hexdigest()


def batch_contents(name, version):
    """Made-up contents of each file of a version; both versions hold the same images."""
    contents = {}
    for seed, file in enumerate((*version.train, *version.test)):
        rows = made_up.images(3, seed)
        fine, coarse = [seed, seed + 1, 9 - seed], [seed, 19 - seed, 0]
        if version.label_bytes is not None:
            labels = [fine] if name == "cifar10" else [coarse, fine]
            contents[file] = made_up.binary_batch(rows, *labels)
        elif name == "cifar10":
            contents[file] = made_up.python_batch(rows, labels=fine)
        else:
            contents[file] = made_up.python_batch(rows, coarse_labels=coarse, fine_labels=fine)
    if version.label_bytes is not None:
        contents[version.names] = ("\r\n".join(NAMES[name]) + "\n\n").encode()
    elif name == "cifar10":
        contents[version.names] = made_up.python_meta(label_names=NAMES[name])
    else:
        contents[version.names] = made_up.python_meta(coarse_label_names=["x"], fine_label_names=NAMES[name])
    return contents


def archive_of(version, contents):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        # The order of an archive is not that of the batches.
        for file, content in [("readme.html", b"<html>"), *reversed(contents.items())]:
            member = tarfile.TarInfo(f"{version.folder}/{file}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


@pytest.fixture
def made(monkeypatch):
    """By (name, version number): the contents of a small published version, whose sums the loader is told."""
    result, versions = {}, {}
    for name in cifar.VERSIONS:
        for number, version in enumerate(cifar.VERSIONS[name]):
            contents = batch_contents(name, version)
            archive = archive_of(version, contents)
            sums = {file: (len(contents[file]), digest(contents[file])) for file in version.sums}
            versions.setdefault(name, []).append(dataclasses.replace(version, sums=sums, archive_md5=digest(archive)))
            result[name, number] = contents, archive
        monkeypatch.setitem(cifar._NAMES_MD5, name, digest("\n".join(NAMES[name]).encode()))
    for name, pair in versions.items():
        monkeypatch.setitem(cifar.VERSIONS, name, tuple(pair))
    return result


def put(made, name, number, form, data_dir):
    """Put a version into data_dir, as a folder in it ("inside"), as data_dir itself ("itself") or as an archive."""
    contents, archive = made[name, number]
    version = cifar.VERSIONS[name][number]
    if form == "archive":
        (data_dir / version.archive).write_bytes(archive)
        return
    folder = data_dir / version.folder if form == "inside" else data_dir
    folder.mkdir(exist_ok=True)
    for file, content in contents.items():
        (folder / file).write_bytes(content)


every_version = pytest.mark.parametrize(("name", "number"), [(n, i) for n in ("cifar10", "cifar100") for i in (0, 1)])


@every_version
@pytest.mark.parametrize("form", ["inside", "itself", "archive"])
def test_every_published_form_loads_alike(made, name, number, form, tmp_path):
    put(made, name, number, form, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    train, test = load_cifar(name, tmp_path)
    batches = len(cifar.VERSIONS[name][number].train)
    rows = np.concatenate([made_up.images(3, seed) for seed in range(batches)]).reshape(-1, 3, 32, 32)
    assert np.array_equal(train.images.numpy(), rows)
    assert np.array_equal(test.images.numpy(), made_up.images(3, batches).reshape(-1, 3, 32, 32))
    assert train.labels.tolist() == [label for seed in range(batches) for label in (seed, seed + 1, 9 - seed)]
    assert train.class_names == test.class_names == tuple(NAMES[name])
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_an_incomplete_folder_does_not_hide_a_complete_version(made, tmp_path):
    put(made, "cifar10", 0, "inside", tmp_path)
    put(made, "cifar10", 1, "inside", tmp_path)
    (tmp_path / "cifar-10-batches-py" / "test_batch").unlink()
    assert locate("cifar10", tmp_path)[1] == tmp_path / "cifar-10-batches-bin"
    (tmp_path / "cifar-10-batches-bin" / "data_batch_2.bin").unlink()
    with pytest.raises(UserError, match=r"cifar-10-batches-py lacks test_batch: .*--download"):
        load_cifar("cifar10", tmp_path)
    put(made, "cifar10", 1, "archive", tmp_path)
    assert len(load_cifar("cifar10", tmp_path)[0]) == 15


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_no_files_says_what_was_looked_for_and_how_to_get_it(name, tmp_path):
    with pytest.raises(UserError) as caught:
        load_cifar(name, tmp_path)
    message = str(caught.value)
    for version in cifar.VERSIONS[name]:
        assert version.folder in message
        assert version.archive in message
    assert "--download" in message
    assert f"https://www.cs.toronto.edu/~kriz/{cifar.VERSIONS[name][1].archive}" in message


def test_a_data_dir_that_is_no_folder(tmp_path):
    with pytest.raises(UserError, match=r"nowhere does not exist: .*--download"):
        load_cifar("cifar10", tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file is a file"):
        load_cifar("cifar10", tmp_path / "file")


def test_an_unknown_name(tmp_path):
    with pytest.raises(UserError, match="did you mean 'cifar10'"):
        load_cifar("cifar-10", tmp_path)


@every_version
@pytest.mark.parametrize("which", ["first", "last"])
def test_a_file_cut_short_or_altered(made, name, number, which, tmp_path):
    put(made, name, number, "itself", tmp_path)
    file = sorted(cifar.VERSIONS[name][number].sums)[0 if which == "first" else -1]
    content = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(content[:-1])
    with pytest.raises(
        UserError, match=rf"{file} is .* expected {len(content):,} .* cut short: delete it and download"
    ):
        load_cifar(name, tmp_path)
    altered = content[:-2] + bytes([content[-2] ^ 1]) + content[-1:]
    (tmp_path / file).write_bytes(altered)
    with pytest.raises(UserError, match=f"{digest(altered)}, expected .*{digest(content)}, so it is altered: delete"):
        load_cifar(name, tmp_path)


@every_version
def test_a_file_that_is_too_long_is_not_read(made, name, number, tmp_path, monkeypatch):
    put(made, name, number, "itself", tmp_path)
    for file in (min(cifar.VERSIONS[name][number].sums), cifar.VERSIONS[name][number].names):
        content = (tmp_path / file).read_bytes()
        with (tmp_path / file).open("r+b") as opened:
            opened.truncate(1 << 40)  # a file of holes, which takes no room
        with pytest.raises(UserError, match=f"{file} is 1,099,511,627,776 bytes, expected .* so it is another file"):
            load_cifar(name, tmp_path)
        (tmp_path / file).write_bytes(content)
    load_cifar(name, tmp_path)


@every_version
def test_an_archive_cut_short(made, name, number, tmp_path):
    put(made, name, number, "archive", tmp_path)
    archive = tmp_path / cifar.VERSIONS[name][number].archive
    archive.write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"has md5 .* expected .*: delete it and download it again"):
        load_cifar(name, tmp_path)


@pytest.mark.parametrize("damage", ["not gzip", "cut", "lacks a batch", "bit"])
def test_an_archive_that_does_not_unpack(made, damage, tmp_path, monkeypatch):
    contents, archive = made["cifar10", 1]
    version = cifar.VERSIONS["cifar10"][1]
    if damage == "lacks a batch":
        contents.pop("data_batch_3.bin")
        archive = archive_of(version, contents)
    elif damage == "bit":
        archive = archive[:5000] + bytes([archive[5000] ^ 4]) + archive[5001:]
    else:
        archive = b"plain" if damage == "not gzip" else archive[:9000]
    (tmp_path / version.archive).write_bytes(archive)
    told = dataclasses.replace(version, archive_md5=digest(archive))
    monkeypatch.setitem(cifar.VERSIONS, "cifar10", (cifar.VERSIONS["cifar10"][0], told))
    with pytest.raises(UserError, match="delete it and download it again"):
        load_cifar("cifar10", tmp_path)


@pytest.mark.parametrize("number", [0, 1])
def test_other_class_names_are_refused(made, number, tmp_path, monkeypatch):
    put(made, "cifar10", number, "itself", tmp_path)
    monkeypatch.setitem(cifar._NAMES_MD5, "cifar10", digest(b"others"))
    with pytest.raises(UserError, match="does not hold the class names of cifar10"):
        load_cifar("cifar10", tmp_path)


def test_a_file_that_may_not_be_read(made, tmp_path, monkeypatch):
    put(made, "cifar10", 1, "itself", tmp_path)

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(UserError, match=r"data_batch_1.bin cannot be read \(Permission denied\)"):
        load_cifar("cifar10", tmp_path)


counts = st.integers(1, 5)


@given(count=counts, data=st.data())
def test_python_batches_of_any_size(count, data):
    rows = made_up.images(count)
    labels = data.draw(st.lists(st.integers(0, 9), min_size=count, max_size=count))
    raw = made_up.python_batch(rows, labels=labels)
    as_python_3_writes_it = pickle.dumps({b"labels": labels, b"data": rows}, protocol=2)
    for batch in (raw, as_python_3_writes_it):
        images, found = _parse_python_batch(batch, "x")
        assert np.array_equal(images.numpy(), rows.reshape(-1, 3, 32, 32))
        assert found.tolist() == labels


@given(count=counts, label_bytes=st.sampled_from([1, 2]), data=st.data())
def test_binary_batches_of_any_size(count, label_bytes, data):
    rows = made_up.images(count)
    columns = [
        data.draw(st.lists(st.integers(0, classes - 1), min_size=count, max_size=count))
        for classes in ([10], [20, 100])[label_bytes - 1]
    ]
    images, found = _parse_binary_batch(made_up.binary_batch(rows, *columns), label_bytes, "x")
    assert np.array_equal(images.numpy(), rows.reshape(-1, 3, 32, 32))
    assert found.tolist() == columns[-1]


@given(raw=st.binary(max_size=7000), label_bytes=st.sampled_from([1, 2]))
def test_any_bytes_are_a_batch_or_a_user_error(raw, label_bytes):
    for parse in (lambda: _parse_python_batch(raw, "x"), lambda: _parse_binary_batch(raw, label_bytes, "x")):
        try:
            images, labels = parse()
        except UserError:
            pass
        else:
            assert len(images) == len(labels) > 0


def test_planes_are_red_green_blue():
    rows = np.repeat(np.array([[1, 2, 3]], dtype=np.uint8), 1024, axis=1)
    rows[0, 33] = 9  # second row, second column of the red plane
    images, _ = _parse_binary_batch(made_up.binary_batch(rows, [0]), 1, "x")
    assert images[0, :, 0, 0].tolist() == [1, 2, 3]
    assert images[0, 0, 1, 1] == 9


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (made_up.python_batch(made_up.images(2), labels=[1]), "2 images and 1 labels"),
        (made_up.python_batch(made_up.images(2), labels=[1, 10]), "a label is 10, outside 0 to 9"),
        (made_up.python_batch(made_up.images(2), fine_labels=[1, 100]), "a label is 100, outside 0 to 99"),
        (made_up.python_batch(made_up.images(2), other=[1, 2]), "no b'data' and"),
        (made_up.python_batch(made_up.images(2)[:, :3000], labels=[1, 2]), r"shape \(2, 3000\)"),
        (made_up.python_batch(made_up.images(2)[:0], labels=[]), "0 images"),
        (made_up.python_meta(labels=["a"]), "no b'data' and"),
        (pickle.dumps({b"labels": [b"a"], b"data": made_up.images(1)}, protocol=2), "not a list of integers"),
        (pickle.dumps({b"labels": [True], b"data": made_up.images(1)}, protocol=2), "not a list of integers"),
        (pickle.dumps([1], protocol=2), "no b'data' and"),
        (pickle.dumps({b"labels": [1], b"data": b"x"}, protocol=2), "no b'data' and"),
    ],
)
def test_a_python_batch_that_is_none(raw, fault):
    with pytest.raises(UserError, match=fault):
        _parse_python_batch(raw, "x")


@pytest.mark.parametrize(
    ("raw", "label_bytes", "fault"),
    [
        (b"", 1, "0 bytes are not rows of 3,073"),
        (bytes(3072), 1, "3,072 bytes are not rows of 3,073"),
        (bytes(3073), 2, "3,073 bytes are not rows of 3,074"),
        (b"\x0a" + bytes(3072), 1, "a label is 10, outside 0 to 9"),
        (b"\x00\x64" + bytes(3072), 2, "a label is 100, outside 0 to 99"),
    ],
)
def test_a_binary_batch_that_is_none(raw, label_bytes, fault):
    with pytest.raises(UserError, match=fault):
        _parse_binary_batch(raw, label_bytes, "x")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_the_real_files_agree(name, tmp_path):
    default = Path(__file__).resolve().parents[3] / "shared"
    unpack = Path(os.environ.get("SRESNET_SHARED", default)) / "data" / "unpack.py"
    if not unpack.is_file():
        pytest.skip("the real data are not here: set SRESNET_SHARED")
    subprocess.run([sys.executable, unpack, tmp_path, name], check=True, stdout=subprocess.DEVNULL)
    python, binary = cifar.VERSIONS[name]
    first = load_cifar(name, tmp_path / python.folder)
    # The text of the class names comes with the archive only.
    names = "".join(f"{class_name}\n" for class_name in first[0].class_names)
    (tmp_path / binary.folder / binary.names).write_text(names)
    second = load_cifar(name, tmp_path / binary.folder)
    for one, other, count in zip(first, second, (50_000, 10_000), strict=True):
        assert len(one) == count
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)
        assert one.class_names == other.class_names
        assert one.labels.bincount().tolist() == [count // len(one.class_names)] * len(one.class_names)
    assert first[0].class_names[first[0].labels[0]] == {"cifar10": "frog", "cifar100": "cattle"}[name]
