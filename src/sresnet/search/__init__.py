"""Searches of hyper-parameters: many trainings of one recipe with some of its fields drawn from ranges."""
