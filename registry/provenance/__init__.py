"""The ledger: the only user of SQLAlchemy."""
