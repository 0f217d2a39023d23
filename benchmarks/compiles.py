"""Whether a network of another library goes through torch.compile, tried in a process of its own within a time."""

import subprocess
import sys

import torch
from contenders import SETTINGS, inference, network, train_step
from peers import PEERS


def why_not(name: str, setting: str, precision: str, *, training: bool, seconds: float) -> str | None:
    """Why a compiled peer is left out: "does not compile: REASON", or "not tried" in no time; None: it does."""
    if not seconds:
        return "not tried"
    command = [sys.executable, __file__, name, setting, precision, "training" if training else "inference"]
    try:
        subprocess.run(command, capture_output=True, encoding="utf-8", check=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return f"does not compile: not done after {seconds:.0f} s"
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if line.strip()]
        return f"does not compile: {lines[-1][:200] if lines else error}"
    return None


def try_compiled(name: str, setting: str, precision: str, kind: str) -> None:
    """One step; in float32 its scores are compared with those of the same network that is not compiled.

    Raises:
        ValueError: they differ by more than a twentieth of the largest: sums in another order move a few spikes.
    """
    model, x, labels = network(SETTINGS[setting])
    compiled = PEERS[name].build(model).train(kind == "training")
    step = train_step(compiled, x, labels, precision) if kind == "training" else inference(compiled, x, precision)
    step()
    if precision == "fp32":
        plain = PEERS[f"{PEERS[name].library} as shipped"].build(model).train(kind == "training")
        with torch.set_grad_enabled(kind == "training"):
            scores, wanted = compiled(x).detach(), plain(x).detach()
        if (apart := float((scores - wanted).abs().max() / wanted.abs().max())) > 0.05:
            raise ValueError(f"another network: scores differ by {apart:.2g}")


if __name__ == "__main__":
    try_compiled(*sys.argv[1:])
