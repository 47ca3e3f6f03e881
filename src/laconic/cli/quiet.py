"""What Transformers logs for its own users and what a command says better itself, kept off the screen."""

from __future__ import annotations

import logging


def quiet() -> None:
    """Leave out progress bars, reports of weights that laconic counts or refuses by name, and advice for accelerators.

    Only commands ask for that: it holds for the whole process.
    """
    from transformers.utils import logging as theirs

    theirs.disable_progress_bar()
    # The library's logger writes through handlers of its own, whatever module a record comes from.
    for handler in theirs.get_logger().handlers:
        if matters not in handler.filters:
            handler.addFilter(matters)


def matters(record: logging.LogRecord) -> bool:
    """Whether a record tells a user of the command line something that is not said elsewhere."""
    import torch

    said = record.getMessage()
    if "LOAD REPORT" in said:
        return "CONVERSION" in said  # models.loading names weights that are missing, left over or of another shape
    if "sequence length is longer than the specified maximum" in said:
        return False  # texts that are only counted; what a model reads is held against its context
    # The kernels that it asks for run on accelerators alone.
    return "is falling back to its reference PyTorch implementation" not in said or torch.accelerator.is_available()
