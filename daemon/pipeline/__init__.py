"""The steps of one artifact's path, one file a step. Each is idempotent and ends in one transaction."""
