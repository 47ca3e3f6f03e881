"""What several drafters offer for one round: the chance of every token by what has held before, and trees made one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from laconic.speculation.base import Go, Judge, Node, Row, TokenTree, Verdict
from laconic.speculation.length.calibration import Calibration, Cell, Counts, bin_of, depth_of

_UNKNOWN = 0.5
"""Confidence of a token about which its drafter says nothing."""
_LOOKED_AT = 64
"""Children of a node whose probabilities are looked up in its row."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A draft. Per node its depth, and the calibrated chance that it and all tokens above it are accepted.

    ``cells`` are the nodes' places in the calibration of the member that proposed it; none in a merged one.
    """

    tree: TokenTree
    depths: Sequence[int]
    paths: Sequence[float]
    cells: Sequence[Cell] = ()

    @property
    def expected(self) -> float:
        """Tokens that will be accepted, on average."""
        return sum(self.paths)


@dataclass(slots=True)
class Ear:
    """A judge that lets everything pass and remembers the confidences that it was told."""

    confidences: list[float] = field(default_factory=list)

    def __call__(self, node: Node) -> Go:
        """On."""
        self.confidences.append(node.confidence)
        return Go.ON


def offer(tree: TokenTree, said: Sequence[float], calibration: Calibration, own: Counts) -> Offer:
    """A draft with its chances. ``said`` are the confidences that its drafter told a judge, one a node or nothing."""
    depths: list[int] = []
    for parent in tree.parents:
        depths.append(0 if parent < 0 else depths[parent] + 1)
    confidences = list(said) if len(said) == len(tree) else _by_rows(tree)
    bins = {confidence: bin_of(confidence) for confidence in set(confidences)}
    cells = [(bins[confidence], depth_of(depth)) for confidence, depth in zip(confidences, depths, strict=True)]
    chances = {cell: calibration.chance(own, cell) for cell in set(cells)}
    paths: list[float] = []
    for cell, parent in zip(cells, tree.parents, strict=True):
        paths.append(chances[cell] * (1.0 if parent < 0 else paths[parent]))
    return Offer(tree, depths, paths, cells)


def _by_rows(tree: TokenTree) -> list[float]:
    """The probability of each node in the row of its parent."""
    known = {node: dict(row.top(_LOOKED_AT)) for node, row in tree.rows.items()}
    return [known.get(parent, {}).get(token, _UNKNOWN) for token, parent in zip(tree.tokens, tree.parents, strict=True)]


def learn(calibration: Calibration, own: Counts, made: Offer, written: Sequence[int]) -> None:
    """Hold an offer, scored or not, against what was written: nodes deeper than that are not known to be wrong."""
    kept = [node for node, depth in enumerate(made.depths) if depth < len(written)]
    tree = part(made.tree, {-1: -1, **{node: i for i, node in enumerate(kept)}})
    calibration.learn(own, [made.cells[node] for node in kept], tree, agreed(tree, written))


def agreed(tree: TokenTree, written: Sequence[int]) -> list[int]:
    """The way down a tree along what was written."""
    path: list[int] = []
    tip = -1
    for node, (token, parent) in enumerate(zip(tree.tokens, tree.parents, strict=True)):
        if parent == tip and len(path) < len(written) and token == written[len(path)]:
            path.append(node)
            tip = node
    return path


def heard(tree: TokenTree, verdict: Verdict) -> Verdict:
    """The verdict on a member's part of a merged tree."""
    written = verdict.tokens
    path = agreed(tree, written[:-1])
    return Verdict(tree, path, written[len(path)])


def merged(offers: Iterable[Offer], budget: int, ends: Iterable[int], source: str) -> Offer:
    """One tree of the likeliest nodes of several, shared prefixes once; no distribution is kept, so none may be there.

    A node that several members offer has the best of their chances. Parents come first, since no node is likelier than
    the one above it, and nothing stands below an end token.
    """
    best: dict[tuple[int, ...], tuple[float, Row | None]] = {}
    for each in offers:
        ways: list[tuple[int, ...]] = []
        for node, (token, parent) in enumerate(zip(each.tree.tokens, each.tree.parents, strict=True)):
            way = (*(ways[parent] if parent >= 0 else ()), token)
            ways.append(way)
            if way not in best or each.paths[node] > best[way][0]:
                best[way] = each.paths[node], each.tree.rows.get(node)
    ended = set(ends)
    order = sorted(best, key=lambda way: (-best[way][0], len(way)))
    nodes: dict[tuple[int, ...], int] = {(): -1}
    for way in order:
        if len(nodes) > budget:
            break
        if way[:-1] in nodes and (len(way) == 1 or way[-2] not in ended):
            nodes[way] = len(nodes) - 1
    del nodes[()]
    index = {(): -1, **nodes}
    rows = {node: row for way, node in nodes.items() if (row := best[way][1]) is not None}
    roots = (each.tree.rows.get(-1) for each in offers)
    root = next((row for row in roots if row is not None), None)
    tree = TokenTree(
        [way[-1] for way in nodes],
        [index[way[:-1]] for way in nodes],
        None,
        source,
        rows if root is None else {-1: root, **rows},
    )
    return Offer(tree, [len(way) - 1 for way in nodes], [best[way][0] for way in nodes])


def judged(made: Offer, judge: Judge, floor: float, *, chain: bool) -> TokenTree:
    """What of an offer the run's length policy lets stand, asked in order about the nodes likelier than ``floor``."""
    tree, index, last = made.tree, {-1: -1}, set()
    for node, parent in enumerate(tree.parents):
        if parent not in index or parent in last or made.paths[node] <= floor:
            continue
        above = made.paths[parent] if parent >= 0 else 1.0
        chance = made.paths[node] / above if above else 0.0
        go = judge(Node(made.depths[node], None, chance, None if chain else above))
        if go is not Go.STOP:
            index[node] = len(index) - 1
        if go is Go.LAST:
            last.add(node)
    return part(tree, index)


def part(tree: TokenTree, index: dict[int, int]) -> TokenTree:
    """Some nodes of a tree, by their new numbers, -1 for the root among them."""
    kept = [node for node in index if node >= 0]
    return TokenTree(
        [tree.tokens[node] for node in kept],
        [index[tree.parents[node]] for node in kept],
        None if tree.draft_probs is None else [tree.draft_probs[node] for node in kept],
        tree.source,
        {index[node]: row for node, row in tree.rows.items() if node in index},
    )
