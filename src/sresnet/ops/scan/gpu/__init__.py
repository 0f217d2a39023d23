"""The engine for GPUs: Triton kernels behind the contract of the C++ kernel.

    kernels.py   the arithmetic; imports triton
    launch.py    calls it: tilings, grids, the memory between kernels; imports triton
    check.py     compares what a layer would run with the reference, once for every GPU and version

`import sresnet` imports none of them: `choice.py` does, when a layer is computed on a GPU.
"""
