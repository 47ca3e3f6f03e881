"""The same thinking control over a model that runs elsewhere, behind an OpenAI-compatible server."""

from laconic.remote.engine import RemoteEngine

__all__ = ["RemoteEngine"]
