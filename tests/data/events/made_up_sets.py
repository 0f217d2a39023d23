"""Small event data sets in the published layouts, written byte by byte."""

import zipfile

import numpy as np

from sresnet.data.events.sets import CIFAR10_CLASSES


def aedat2(count=40, seed=0, duration=100_000):
    """A DVS128 recording: header lines, then big-endian pairs of address and microseconds."""
    draw = np.random.default_rng(seed)
    address = draw.integers(0, 128, count) << 1 | draw.integers(0, 128, count) << 8 | draw.integers(0, 2, count)
    t = np.sort(draw.integers(0, duration, count))
    return b"#!AER-DAT2.0\r\n# AEChip: DVS128\r\n" + np.stack([address, t], 1).astype(">u4").tobytes()


def nmnist(count=40, seed=0):
    """Records of five bytes: column, row, polarity and 23 bits of microseconds."""
    draw = np.random.default_rng(seed)
    t = np.sort(draw.integers(0, 300_000, count))
    columns = [draw.integers(0, 34, count), draw.integers(0, 34, count)]
    columns += [draw.integers(0, 2, count) << 7 | t >> 16, t >> 8 & 255, t & 255]
    return np.stack(columns, 1).astype(np.uint8).tobytes()


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def dvs_cifar10(root, per_class=10, **options):
    """Ten class folders of `cifar10_<class>_<i>.aedat`."""
    for label, name in enumerate(CIFAR10_CLASSES):
        for index in range(per_class):
            content = aedat2(seed=1000 * label + index, **options)
            put(root / name / f"cifar10_{name}_{index}.aedat", content)
    return root


def zipped(root, target):
    """A zip file for each folder in `root`, as the distribution has them."""
    target.mkdir(parents=True, exist_ok=True)
    for folder in sorted(root.iterdir()):
        with zipfile.ZipFile(target / f"{folder.name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    archive.write(path, f"{folder.name}/{path.relative_to(folder).as_posix()}")
    return target


def official_nmnist(root, per_class=2):
    """`Train/5/00001.bin` and `Test/5/00001.bin`."""
    for part, offset in (("Train", 0), ("Test", 500)):
        for digit in range(10):
            for index in range(per_class):
                content = nmnist(seed=offset + 10 * digit + index)
                put(root / part / str(digit) / f"{index:05}.bin", content)
    return root


def small_nmnist(root, train=20, test=10):
    """`1.bs2`, ..., and the classes in train1K.txt and test100.txt."""
    for name, first, count in (("train1K.txt", 1, train), ("test100.txt", 60_001, test)):
        lines = ["#sample #class"]
        for number in range(first, first + count):
            put(root / f"{number}.bs2", nmnist(seed=number))
            lines.append(f"{number}\t{number % 10}")
        (root / name).write_text("\n".join(lines) + "\n")
    return root
