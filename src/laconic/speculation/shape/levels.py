"""Growing level by level and keeping the likeliest paths of all levels: what EAGLE-2 and OPT-Tree share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from laconic.speculation.base import Context, Expand, Go, Grown, Judge, Node, Row, TokenTree, hidden_of


@dataclass(slots=True)
class Candidate:
    """A token that might be kept. ``node`` is its id among the grown once its children are wanted."""

    path: float
    """Probability of all tokens down to this one."""
    token: int
    probability: float
    parent: Candidate | None
    depth: int
    node: int = -1


def grow_levels(
    nodes: Grown, budget: int, context: Context, judge: Judge | None,
    *, top_k: int, per_level: int, depth: int, gain: float,
) -> Expand:  # fmt: skip
    """Expand level after level, then keep the ``budget`` likeliest paths of all that was seen.

    Below each node the ``top_k`` likeliest children are seen. Of each level those that are among the best ``budget``
    so far are expanded, ``per_level`` at most (what is not among them now never will be, nor what is below it). The
    last level is the first that raises the sum of the kept paths' probabilities, which is the expected number of
    accepted tokens, by less than ``gain``, and at the latest that of ``depth``. ``judge`` is asked about the tokens
    that would be kept, the likeliest paths first, so its answers save nodes and no draft passes.

    Not all nodes that are grown are kept: the tree that is returned counts anew and brings its own ``rows``.
    """
    rows: dict[int, Row] = {}
    kept: list[Candidate] = []
    frontier: list[Candidate | None] = [None]
    expected = 0.0
    for level in range(min(depth, budget)):
        wanted = [-1 if parent is None else parent.node for parent in frontier]
        for node, parent, row in zip(wanted, frontier, (yield wanted), strict=True):
            rows[node] = row
            path = 1.0 if parent is None else parent.path
            kept += [Candidate(path * p, token, p, parent, level) for token, p in row.top(top_k)]
        kept.sort(key=lambda candidate: -candidate.path)  # stable, so parents stay before children
        del kept[budget:]
        before, expected = expected, sum(candidate.path for candidate in kept)
        newest = [c for c in kept if c.depth == level and c.token not in context.ends][:per_level]
        if not newest or expected - before < gain or level + 1 == min(depth, budget):
            break
        for c in newest:
            c.node = nodes.add(c.token, -1 if c.parent is None else c.parent.node)
        frontier = list(newest)
    return _pick(kept, rows, judge)


def _pick(kept: Sequence[Candidate], rows: dict[int, Row], judge: Judge | None) -> TokenTree:
    """The tree of the candidates that ``judge`` lets stand."""
    tokens: list[int] = []
    parents: list[int] = []
    seen = {-1: rows[-1]} if rows else {}
    at: dict[int, int] = {}  # where the children of a candidate go
    for c in kept:
        parent = -1 if c.parent is None else at.get(id(c.parent))
        if parent is None:
            continue
        go = Go.ON
        if judge is not None:
            above = rows[-1 if c.parent is None else c.parent.node]
            path = 1.0 if c.parent is None else c.parent.path
            go = judge(Node(c.depth, above.probs, c.probability, path, hidden_of(above)))
        if go is Go.STOP:
            continue
        if c.node >= 0:
            seen[len(tokens)] = rows[c.node]
        if go is Go.ON:
            at[id(c)] = len(tokens)
        tokens.append(c.token)
        parents.append(parent)
    return TokenTree(tokens, parents, rows=seen)
