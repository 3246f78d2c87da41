"""The only code that touches keys: age v1, signing keys, signatures."""
