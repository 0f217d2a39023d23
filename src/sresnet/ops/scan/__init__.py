"""The scan over time: norm, residual, neurons and residual spikes of a layer in one pass, forward and backward.

The engine room under `ops.lif`, `ops.bntt_lif` and `ops.conv_bntt_lif`, which check arguments and hold the definitions:

    operator.py   `scan`: two operators of torch.library and their gradient
    cpu.py        calls the C++ kernel: its constants, its sizes, its addresses
    kernel.cpp    the arithmetic, for any processor
    native.py     compiles and keeps it
    rows.py       the memory layout that all of them share
"""

from sresnet.ops.scan.operator import runs, scan
from sresnet.ops.scan.rows import is_rows

__all__ = ["is_rows", "runs", "scan"]
