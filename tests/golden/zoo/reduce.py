"""Make the files of this folder from the full ones: python -m tests.golden.zoo.reduce FULL_FOLDER.

What the full files hold of every parameter in three arrays of its own is one row each here, and what no test compares
is left out. All numbers are those of the full files. Weights and inputs of the reference conversions come from a stream
of NumPy's that is frozen, and are drawn again by the test.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np

NETWORKS = (
    "kim_vgg9",
    "kim_vgg11",
    "fang_cifar",
    "fang_dvs_small",
    "fang_wide7b_small",
    "lee_resnet11",
    "zheng_resnet19",
    "zheng_resnet19_identity_tdbn",
)
WHOLE = ("deng_resnet20", "deng_vgg16", "rathi_thresholds", "spikingjelly_ann2snn")
"""Small enough as they are."""
KEPT = ("logits_train", "logits_eval", "loss", "spikes_train", "spikes_eval")
STATISTICS = {"running_mean/0": "mean_first", "running_mean/1": "mean_second", "rm_first": "mean_first"}
STATISTICS |= {"running_var/0": "var_first", "running_var/1": "var_second", "rv_first": "var_first"}


def reduce(full):
    """The arrays of a small file."""
    info = json.loads(str(full["info"]))
    names = [name for name, *_ in info["params"]]
    small = {"info": full["info"]} | {key: full[key] for key in KEPT}
    small["input"] = full["inputs"] if "inputs" in full else full["x"]
    small |= {ours: full[theirs] for theirs, ours in STATISTICS.items() if theirs in full}
    small["gradnorm"] = np.array([full[f"gradnorm/{name}"] for name in names])
    small["gradsum"] = np.array([full[f"gradsum/{name}"] for name in names])
    heads = [full[f"gradhead/{name}"].ravel() for name in names]
    small["gradhead"] = np.array([np.pad(head, (0, 8 - len(head))) for head in heads])  # a leak has one number
    return small


def read(path):
    """All arrays of a file."""
    with np.load(path) as file:
        return dict(file)


def reduce_tandem(full):
    """The arrays of a small file of progressive tandem learning: gradients of a stage in one array."""
    small = {key: value for key, value in full.items() if not key.startswith("grad") and key != "x"}
    for stage in (0, 3):
        names = [key.partition("/")[2] for key in full if key.startswith(f"gradnorm_{stage}/")]
        small[f"names_{stage}"] = np.array(json.dumps(names))
        small[f"gradnorm_{stage}"] = np.array([full[f"gradnorm_{stage}/{name}"] for name in names])
        small[f"gradhead_{stage}"] = np.array([full[f"gradhead_{stage}/{name}"] for name in names])
    return small


if __name__ == "__main__":
    here = Path(__file__).parent
    for name in WHOLE:
        shutil.copy(Path(sys.argv[1]) / f"{name}.npz", here)
    conversions = read(Path(sys.argv[1]) / "reference_conversions.npz")
    small = {key: value for key, value in conversions.items() if key not in ("w0", "w1", "w2", "w3", "x", "poisson")}
    np.savez_compressed(here / "reference_conversions.npz", **small)
    tandem = reduce_tandem(read(Path(sys.argv[1]) / "wu_ptl_vgg11.npz"))
    np.savez_compressed(here / "wu_ptl_vgg11.npz", **tandem)
    for name in NETWORKS:
        np.savez_compressed(here / f"{name}.npz", **reduce(read(Path(sys.argv[1]) / f"{name}.npz")))
        print(name, (here / f"{name}.npz").stat().st_size)
