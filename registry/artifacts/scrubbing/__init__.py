"""Headers that tell less before the same weights, and the way back."""
