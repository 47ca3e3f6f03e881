"""What reasoners say to the model."""

from __future__ import annotations

GO_ON = """\
Notes from the reasoning about this so far:

{notes}

Go on from these notes. What they have settled need not be done again."""

REFINE = """\
Notes on earlier attempts at this, which may be wrong:

{notes}

Check them, mend what is wrong, and answer."""

ANSWER = """\
Notes from the reasoning about this so far:

{notes}

Give the final answer now."""

SUMMARISE = """\
{notes}Reasoning about this so far:

{drafts}

Do not go on with it. Write notes of at most {tokens} tokens from which somebody else can: what is known, the results \
found with their values, what was tried and failed, and what is left to do. Write the notes alone."""

DISTIL = """\
{notes}Attempts at this:

{drafts}

Do not make another one. Write notes of at most {tokens} tokens for the next attempt: where these agree, where they \
differ and which of them is right there, mistakes that were made, and the best answer so far. Write the notes alone."""

EARLIER = "Notes so far:\n\n{notes}\n\n"
ONE_OF_SEVERAL = "[Attempt {number}]\n{text}"
