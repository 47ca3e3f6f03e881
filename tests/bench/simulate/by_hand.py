"""Texts by hand."""

from laconic.bench.simulate.recording import Script, Stray


def script(hits: str, *, prompt: int = 5, limit: int = 100, confidence: float = 0.9, name: str = "t", **more) -> Script:
    """``hits`` as 1 and 0; below every refused token the draft model would have gone on for good."""
    marks = [mark == "1" for mark in hits]
    strays = {t: Stray([0.8] * 32, [0.5] * 32) for t, hit in enumerate(marks) if not hit}
    return Script(name, prompt, limit, marks, [confidence] * len(marks), [0.3] * len(marks), strays, **more)
