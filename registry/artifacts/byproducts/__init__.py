"""What training leaves beside an adapter: found by rules, reported, redacted to trends, sealed or removed."""
