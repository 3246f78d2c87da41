"""Adapters by hand as the audits have them; sketches of random numbers with known relations."""

from __future__ import annotations

from tests.audits.conftest import _one_thread, lora, pack, subject_of  # noqa: F401
