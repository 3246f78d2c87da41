"""Audits of adapters: the protocol, the isolated runner, one file per audit."""
