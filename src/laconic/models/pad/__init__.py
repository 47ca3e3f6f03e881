"""Cost-padded checkpoints: the function of a small model at the cost of a large one.

A wider and deeper checkpoint with zero weights and identity layers computes what its source computes, while each pass
does the work of a model of the requested size. So acceptance, thoughts and answers are those of a trained model, and
the time of a pass is that of a large one, on a machine where no model of that size could be trained.
"""

from laconic.models.pad.shape import Shape, parse_size, plan
from laconic.models.pad.write import Padded, pad, pad_to

__all__ = ["Padded", "Shape", "pad", "pad_to", "parse_size", "plan"]
