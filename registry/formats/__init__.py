"""Wire types: bytes to frozen dataclasses and back. Standard library only; no I/O, no cryptography."""
