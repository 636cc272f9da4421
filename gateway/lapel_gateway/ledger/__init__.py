"""The ledger: one SQLite database in which the gateway's roles meet."""

from lapel_gateway.ledger.opening import LedgerError, fresh_ledger, ledger_path, open_ledger, reading, tidy, writing

__all__ = ["LedgerError", "fresh_ledger", "ledger_path", "open_ledger", "reading", "tidy", "writing"]
