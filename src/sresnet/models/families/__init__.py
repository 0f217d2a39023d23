"""Families of networks: each file here registers one by its name."""

import importlib
import pkgutil

# S-ResNet first, in lists too.
for found in sorted(pkgutil.iter_modules(__path__), key=lambda found: found.name != "sresnet"):
    importlib.import_module(f"{__name__}.{found.name}")
