"""What the executor should find where every drafted token is right with the same chance, whatever came before it.

Seconds a token, for a target pass of ``target`` seconds and a draft pass of ``draft``. Derived here for the policies as
they are defined in :mod:`.policies`; each formula's source is named.
"""

from __future__ import annotations


def plain(target: float) -> float:
    """One token a pass."""
    return target


def serial(chance: float, length: int, target: float, draft: float) -> float:
    """Leviathan et al. (2023), theorem 3.8: ``(1 - a^(k+1)) / (1 - a)`` tokens for ``k`` draft passes and a check."""
    tokens = sum(chance**i for i in range(length + 1))
    return (length * draft + target) / tokens


def pearl(chance: float, length: int, target: float) -> float:
    """PEARL (Liu et al. 2024), drafts of ``length`` >= 2, the ratio of the speeds: as a chain of two kinds of pass.

    After a refusal (P) a pass checks no draft and writes one token, and ``length`` tokens are drafted meanwhile; if the
    first is right, which is ``chance``, the next pass is of the other kind (S): it checks ``length - 1`` tokens, writes
    them and one more if all are right, and the next pass is again S if that one more was guessed, too. So S follows S
    with ``chance ** length``, and its tokens are ``(1 - a^k) / (1 - a)`` on average.
    """
    again = chance**length
    tokens = sum(chance**i for i in range(length))
    if chance == 0:
        return target
    # Balance of the two kinds: P a = S (1 - a^k).
    share = chance / (chance + 1 - again)
    return target / ((1 - share) + share * tokens)


def pool(chance: float, target: float, draft: float) -> float:
    """DSI (Timor et al. 2024) with blocks of one token and workers enough: a run of right tokens is written at the
    drafter's pace, and a wrong one is known a target pass after it could have been checked.
    """
    return chance * draft + (1 - chance) * target
