"""What a pass costs: measured here and fitted (``pass_cost``), or predicted for named hardware (``predict``)."""

from laconic.bench.cost.anatomy import Anatomy
from laconic.bench.cost.cache import load, pass_cost, save
from laconic.bench.cost.elsewhere import predicted
from laconic.bench.cost.hardware import PRESETS, Hardware, hardware
from laconic.bench.cost.measure import measure
from laconic.bench.cost.model import Cell, CostModel, fit
from laconic.bench.cost.roofline import Knobs, PassTime, Prediction, pass_time, predict, relative

__all__ = [
    "PRESETS",
    "Anatomy",
    "Cell",
    "CostModel",
    "Hardware",
    "Knobs",
    "PassTime",
    "Prediction",
    "fit",
    "hardware",
    "load",
    "measure",
    "pass_cost",
    "pass_time",
    "predict",
    "predicted",
    "relative",
    "save",
]
