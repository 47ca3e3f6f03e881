"""Which distribution the output shall have, made of the target's and the draft's."""
