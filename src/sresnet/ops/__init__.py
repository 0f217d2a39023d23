"""Functions on tensors, forward and backward: no modules, no files, no configuration."""
