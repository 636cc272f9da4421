"""The ledger: one SQLite database in which the gateway's roles meet."""

# Tables of one module name rows of another: whoever uses one has them all.
from lapel_gateway.ledger import account_tables, firmware_tables, schema, visit_tables
from lapel_gateway.ledger.opening import LedgerError, fresh_ledger, ledger_path, open_ledger, reading, tidy, writing

__all__ = [
    "LedgerError",
    "account_tables",
    "firmware_tables",
    "fresh_ledger",
    "ledger_path",
    "open_ledger",
    "reading",
    "schema",
    "tidy",
    "visit_tables",
    "writing",
]
