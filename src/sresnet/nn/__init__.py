"""Modules: parameters and one call of an op each."""
