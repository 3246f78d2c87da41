"""Exact and similarity fingerprints of adapters."""
