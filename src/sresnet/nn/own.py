"""What neurons and norms of the user's own give is checked: a wrong shape would show layers later, or nowhere."""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from sresnet.errors import UserError


def checked(given: Any, name: str, x: Float[Tensor, "T *neurons"]) -> Float[Tensor, "T *neurons"]:
    """`given` in the dtype of x.

    Raises:
        UserError: it is not a tensor of real numbers of the shape of x; `name` says whose it is.
    """
    wanted = f"expected real numbers of the shape of what it gets, {list(x.shape)}"
    if not isinstance(given, Tensor):
        raise UserError(f"{name} gives {type(given).__name__}: {wanted}")
    if given.shape != x.shape:
        raise UserError(f"{name} gives {list(given.shape)}: {wanted}")
    if not given.is_floating_point():
        raise UserError(f"{name} gives {given.dtype}, through which no gradient passes: {wanted}")
    return given.to(x.dtype)
