"""Torch pickles read as data in a cage and written again as safetensors; nothing in them is ever run."""
