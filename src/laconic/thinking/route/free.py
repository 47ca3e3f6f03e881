"""Think as the model likes."""

from __future__ import annotations

from laconic.policy import Card, knobs
from laconic.thinking.route.base import Before


@knobs
class Free(Before):
    """Does nothing: the model thinks as it likes. A name for the mode ``[]`` where one must be given.

    As with every controller, a text that ends inside its thought is given its closing tag and an answer.
    """

    card = Card(paper="laconic's own", lossless=False)
