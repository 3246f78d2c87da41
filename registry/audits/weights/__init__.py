"""Audits of the weights: one file per audit, with its page in docs/audits/, and what they share."""
