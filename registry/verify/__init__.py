"""The recipient's verifier and opener: standard library and cryptography, nothing heavier."""
