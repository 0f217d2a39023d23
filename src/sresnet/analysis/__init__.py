"""Analysis of a trained network: firing rates, operations and energy, gradients, what neuromorphic hardware needs."""

from sresnet.analysis.activity import Activity, ActivityCounter, LayerActivity, activity
from sresnet.analysis.cost import ARITHMETIC, Cost, CostCounter, Energy, LayerCost, cost
from sresnet.analysis.exits import (
    EarlyExit,
    EarlyExitResult,
    ExitPoint,
    early_exit,
    evaluate_early_exit,
    run_early_exit,
)
from sresnet.analysis.gradients import BlockGradient, gradient_norms, gradients_by_connection
from sresnet.analysis.hardware import HardwareView, hardware_view
from sresnet.analysis.report import Analysis, analyse
from sresnet.analysis.steps import StepAccuracy, StepCounter, accuracy_by_step
from sresnet.analysis.walk import Batches, Observation, batches_of, spread, walk
from sresnet.models.synapses import HardwareNetwork, hardware_network

__all__ = [
    "ARITHMETIC",
    "Activity",
    "ActivityCounter",
    "Analysis",
    "Batches",
    "BlockGradient",
    "Cost",
    "CostCounter",
    "EarlyExit",
    "EarlyExitResult",
    "Energy",
    "ExitPoint",
    "HardwareNetwork",
    "HardwareView",
    "LayerActivity",
    "LayerCost",
    "Observation",
    "StepAccuracy",
    "StepCounter",
    "accuracy_by_step",
    "activity",
    "analyse",
    "batches_of",
    "cost",
    "early_exit",
    "evaluate_early_exit",
    "gradient_norms",
    "gradients_by_connection",
    "hardware_network",
    "hardware_view",
    "run_early_exit",
    "spread",
    "walk",
]
