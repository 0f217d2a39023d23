"""A constant of neurons is added in the four places that docs/architecture.md names, and reaches every network."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import sresnet

FIELD = '\n    never_negative: bool = False\n    """The potential does not fall below 0."""\n'
PLACES = {
    "ops/neuron.py": [("    detach_reset: bool = True\n", FIELD)],
    "ops/lif/reference.py": [
        (
            '        v = u - neuron.threshold * resets if neuron.reset == "subtract" else u * (1 - resets)\n',
            "        v = v.clamp(min=0) if neuron.never_negative else v\n",
        )
    ],
    "nn/neuron.py": [
        ("    detach_reset: bool = True\n", FIELD),
        ("detach_reset=config.detach_reset,\n", "            never_negative=config.never_negative,\n"),
    ],
    "models/network.py": [
        ("    detach_reset: bool = True\n", FIELD.replace("= False", "= added_later(False)")),
        ("detach_reset=self.detach_reset,\n", "            never_negative=self.never_negative,\n"),
        ("from sresnet.config import ", "added_later, "),
    ],
}
"""File -> (a line that is there, what is put behind it)."""

PROGRAM = """
import torch, sresnet
from sresnet.config import to_dict
from sresnet.nn.neuron import Neuron

assert "never_negative" not in to_dict(sresnet.SResNetConfig())
torch.manual_seed(0)
plain = sresnet.create_model("sresnet8", base_filters=4, num_steps=3)
torch.manual_seed(0)
model = sresnet.create_model("sresnet8", base_filters=4, num_steps=3, never_negative=True)
x = 3 * torch.randn(2, 3, 8, 8)
scores = model(x)
scores.sum().backward()
assert not torch.equal(scores, plain(x))
neurons = model.layers["stem"].neuron
current = torch.tensor([[-1.0], [1.1]])  # from 0, or from -leak
print(neurons(current).flatten().tolist(), Neuron(plain.config.neuron_config())(current).flatten().tolist())
"""


def test_a_constant_is_added_in_four_files(tmp_path):
    package = Path(sresnet.__file__).parent
    (tmp_path / "sresnet").mkdir()
    for path in package.iterdir():
        if path.name in ("ops", "nn", "models"):
            shutil.copytree(path, tmp_path / "sresnet" / path.name, ignore=shutil.ignore_patterns("pretrained"))
        else:
            (tmp_path / "sresnet" / path.name).symlink_to(path)
    (tmp_path / "sresnet" / "models" / "pretrained").symlink_to(package / "models" / "pretrained")
    for name, changes in PLACES.items():
        file = tmp_path / "sresnet" / name
        text = file.read_text()
        for there, more in changes:
            assert text.count(there) == 1
            text = text.replace(there, there + more)
        file.write_text(text)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[0.0, 1.0] [0.0, 0.0]\n"
