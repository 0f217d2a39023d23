"""Norm, residual and neurons of a layer in plain PyTorch. This file is the definition of anything faster."""

import torch
from jaxtyping import Float
from torch import Tensor

from sresnet.ops.lif.reference import lif_reference
from sresnet.ops.neuron import LIFConstants
from sresnet.ops.norm import NormState, batch_norm_reference


def bntt_lif_reference(
    x: Float[Tensor, "T N C H W"],
    norm: NormState | None,
    neuron: LIFConstants,
    *,
    residual_current: Float[Tensor, "T N C H W"] | None,
    residual_spikes: Float[Tensor, "T N C H W"] | None,
    v: Float[Tensor, "N C H W"] | None,
) -> tuple[Float[Tensor, "T N C H W"], Float[Tensor, "T N C H W"], Float[Tensor, "N C H W"]]:
    """Output, current and the last v; the arguments are those of `bntt_lif`, x with all its steps.

    current[t] = norm(x[t]) + residual_current[t]
    output[t]  = o[t] + residual_spikes[t], where the spikes o are those of `lif_steps` driven by current

    Arithmetic is in float32 or wider, whatever x is stored in.
    """
    current = x.to(torch.promote_types(x.dtype, torch.float32))
    if norm is not None:
        current = batch_norm_reference(current, norm)
        current = current.to(torch.promote_types(current.dtype, torch.float32))  # of a norm in half precision
    if residual_current is not None:
        current = current + residual_current
    spikes, v_last = lif_reference(current, neuron, v)
    output = spikes if residual_spikes is None else spikes + residual_spikes
    return output.to(x.dtype), current.to(x.dtype), v_last
