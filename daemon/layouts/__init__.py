"""What trainers call their files: pure rules from names to candidates (facts/formats.md sections 1, 8)."""
