"""Channels: they carry sealed bytes only and can decrypt nothing."""
