"""Accounts at the gateway."""
