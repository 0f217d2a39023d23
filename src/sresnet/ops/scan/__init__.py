"""The scan over time: norm, residual, neurons and residual spikes of a layer in one pass, forward and backward.

The engine room under `ops.lif`, `ops.bntt_lif` and `ops.conv_bntt_lif`, which check arguments and hold the definitions:

    operator.py   `scan`: two operators of torch.library and their gradient
    contract.py   what every engine is told, keeps and has to do
    choice.py     which engine computes on a tensor
    cpu.py        calls the C++ kernel: its sizes, its addresses
    kernel.cpp    the arithmetic, for any processor
    native.py     compiles and keeps it
    gpu/          the engine for GPUs, in Triton
    rows.py       the memory layout that all of them share
"""

from sresnet.ops.scan.operator import runs, scan
from sresnet.ops.scan.rows import is_rows

__all__ = ["is_rows", "runs", "scan"]
