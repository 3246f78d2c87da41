"""Commands of the registry; the only place in it that prints."""
