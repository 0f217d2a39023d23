"""A NIR graph in another library, in whose environment this runs: python nir_peer.py LIBRARY FILE FRAMES OUTPUTS.

FRAMES is a .npy file of what the graph takes, [T, N, C, H, W]; what it gives after every step is written to OUTPUTS.
"""

import sys

import nir
import numpy as np
import torch


def network(library: str, graph: nir.NIRGraph) -> torch.nn.Module:
    """The graph as the library imports it."""
    if library == "snntorch":
        from snntorch.import_nir import import_from_nir

        return import_from_nir(graph)
    from norse.torch import from_nir

    return from_nir(graph, dt=1.0)


library, file, frames, outputs = sys.argv[1:]
state, found = None, []
with torch.no_grad():
    module = network(library, nir.read(file))
    for frame in torch.from_numpy(np.load(frames)):
        output, state = module(frame, state)
        found.append(output.numpy())
np.save(outputs, np.stack(found))
