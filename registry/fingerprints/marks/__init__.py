"""Recipient marks: a keyed change of an adapter that tells whose copy a found file was made from."""
