"""Registries to copy, as the daemon's tests have them."""

from tests.daemon.conftest import (
    audits,
    fresh,
    fresh_template,
    lived,
    lived_template,
)

__all__ = ["audits", "fresh", "fresh_template", "lived", "lived_template"]
