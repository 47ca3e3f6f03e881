"""A promise for what is lossy: the boldest setting whose harm is below a limit, with a stated confidence.

Harm is paired and counted prompt by prompt: with answers to judge by, right under free thinking and wrong now; without,
an answer that is another one now, or none.
"""

HARM = 0.01
"""A usual limit of harm: a share of the prompts."""
CONFIDENCE = 0.95
"""How sure a promise is, where nothing else is asked for."""
SHOWN = 0.2
"""Share of the prompts that choose nothing and are measured for the report alone."""
