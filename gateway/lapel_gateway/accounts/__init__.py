"""Accounts: who people are, how they log in, what their roles let them do, and what was done in whose name."""
