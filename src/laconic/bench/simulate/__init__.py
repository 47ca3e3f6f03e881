"""A server under load, simulated from recorded drafts and pass costs, with the real length policies."""

from laconic.bench.simulate.arrivals import Load, loads
from laconic.bench.simulate.host import HostCost
from laconic.bench.simulate.memory import Bounds, Memory, Size
from laconic.bench.simulate.recording import Recording, Script, Stray, read, write
from laconic.bench.simulate.run import Setup, simulate
from laconic.bench.simulate.server import Server

__all__ = [
    "Bounds",
    "HostCost",
    "Load",
    "Memory",
    "Recording",
    "Script",
    "Server",
    "Setup",
    "Size",
    "Stray",
    "loads",
    "read",
    "simulate",
    "write",
]
