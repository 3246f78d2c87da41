"""Durable writes, vault, intake, classification and metadata of adapters."""
