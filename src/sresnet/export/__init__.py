"""Trained networks in files that other programs run: `to_onnx`, `to_torch_export`, `to_c`, `to_nir`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sresnet.export.c import to_c
    from sresnet.export.nir import to_nir
    from sresnet.export.onnx import to_onnx
    from sresnet.export.torch_export import to_torch_export

__all__ = ["to_c", "to_nir", "to_onnx", "to_torch_export"]

_FILES = {"to_c": "c", "to_nir": "nir", "to_onnx": "onnx", "to_torch_export": "torch_export"}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """A public name, imported when it is asked for: what it needs is an extra (PEP 562)."""
        if name not in _FILES:
            raise AttributeError(f"module 'sresnet.export' has no attribute {name!r}")
        return getattr(import_module(f"sresnet.export.{_FILES[name]}"), name)
