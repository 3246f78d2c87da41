"""Custody: the keys in one place, without network. It opens, re-wraps and signs after checking the chain itself."""
