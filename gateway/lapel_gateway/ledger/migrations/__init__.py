"""Alembic's migrations of the ledger; imported only when a database has to be made or upgraded."""
