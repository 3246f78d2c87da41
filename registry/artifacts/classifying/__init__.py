"""What a header says: kind, dialect, method, family, rank, alpha and scale; tables and pure rules."""
