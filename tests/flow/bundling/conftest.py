"""The home with a past that bundles are made of."""

from tests.support.evidence import templates, told

__all__ = ["templates", "told"]
