"""Which adapters may be compared with each other, by which numbers, and who is unlike the rest."""
