"""The home with a past that the commands of `remit log` are run on."""

from tests.support.evidence import templates, told

__all__ = ["templates", "told"]
