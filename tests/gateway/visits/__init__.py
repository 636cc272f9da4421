"""Visits at the gateway, each in simulated time."""
