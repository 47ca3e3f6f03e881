"""Where a text has been seen before: chains of the places that follow a context, through pages of tokens.

As in a compressor of the LZ77 family, nothing is counted when text comes in. Each token is entered, for a few lengths
n, into the chain of the places before which n tokens hash alike; a search walks the chains from the latest place
backwards and compares tokens. So what is found is true of the text that is there, and forgetting needs no
bookkeeping: a page that is written anew leaves links behind that no longer compare equal.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator, MutableMapping, Sequence
from operator import itemgetter

from laconic.speculation.drafters.suffix_pages import Document, Pages, zeros

ORDERS = (1, 2, 4, 8)
"""Context lengths that have chains. Matches are longer or between them; chains are only the ways to find them."""
PLACES = 12
"""Places looked for at most: the longest matches that the chains find, the latest among equals first."""
_STEPS = 4
"""Places looked at in each chain for every one that is wanted: some follow another context that hashes alike."""
_length = itemgetter(0)
_WITHOUT_BOUND = (1 << 61) - 1


class Store:
    """Texts, found again by what came before them.

    ``depth`` is the longest match, tokens; ``bound`` the most tokens that are kept, None for all. Beyond it the page
    that was begun longest ago is forgotten: 16 tokens at once, fewer under small bounds. A bounded store is made for
    sharing between threads: writers take a lock, and a reader that is overtaken by one finds a wrong token at worst,
    which a verifier refuses as it would any other.
    """

    def __init__(self, depth: int, bound: int | None = None) -> None:
        self.depth = depth
        orders = [order for order in ORDERS if order <= depth]
        self._pages = Pages(len(orders), bound)
        self._buckets = _WITHOUT_BOUND if bound is None else bound
        # Where a chain begins: the latest place, by the hash of the context; one more, so that 0 says none. What is
        # searched for in vain is entered with the next token, so a table that notes it grows no larger.
        self._heads: list[MutableMapping[int, int] | memoryview[int]] = [
            defaultdict(int) if bound is None else zeros(bound) for _ in orders
        ]
        self._chains = tuple(zip(orders, self._heads, self._pages.columns, strict=True))
        self._longest_first = self._chains[::-1]
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes that a bounded store has set aside."""
        return self._pages.nbytes + sum(head.nbytes for head in self._heads if isinstance(head, memoryview))

    def extend(self, document: Document, tokens: Sequence[int]) -> None:
        """Append ``tokens`` to a text."""
        buckets, chains = self._buckets, self._chains
        with self._lock:
            text = (*document.tail[-ORDERS[-1] :], *tokens)
            at = len(text) - len(tokens)
            for place in self._pages.write(document, tokens):
                for order, heads, links in chains:
                    if order > at:
                        break
                    key = hash(text[at - order : at]) % buckets
                    last = heads[key]
                    links[place] = last if last != place + 1 else 0  # a page that was written anew: no ring of one
                    heads[key] = place + 1
                at += 1
            document.tail = text[-ORDERS[-1] :]

    def search(self, window: Sequence[int]) -> Iterator[tuple[int, list[tuple[int, int]]]]:
        """Places before which ``window`` (at most ``depth`` tokens) ends, in part or whole, the longest matches first.

        For each length n that has chains, the longest first, yields n and the places that were not yet known where at
        least n tokens match, with the length of each match: ``(length, place)``, sorted, the latest first among equals.
        There are PLACES of them in all at most.
        """
        known: set[int] = set()
        matches, buckets = self._pages.matches, self._buckets
        window = tuple(window)
        backwards = window[::-1]
        for order, heads, links in self._longest_first:
            if order > len(window) or len(known) == PLACES:
                continue
            at = heads[hash(window[-order:]) % buckets]
            steps = _STEPS * PLACES
            found = []
            while at and steps and len(known) < PLACES:
                steps -= 1
                place = at - 1
                if place not in known and (length := matches(place, backwards)) >= order:
                    known.add(place)
                    found.append((length, place))
                at = links[place]
            if found:
                found.sort(key=_length, reverse=True)
                yield order, found

    def find(self, window: Sequence[int]) -> dict[int, int]:
        """The places of :meth:`search`, with the length of each match."""
        return {place: length for _, found in self.search(window) for length, place in found}

    def run(self, place: int, most: int, text: Document | None = None) -> list[int]:
        """What followed at a place, at most so many tokens; ``text`` is the one that ends in the window."""
        return self._pages.run(place, most, text)
