"""The same adapters by hand as the audits have."""

from __future__ import annotations

from tests.audits.conftest import _one_thread, lora, pack, subject_of  # noqa: F401 - fixtures
