"""Measurements of the hot paths on this machine: `make bench`. They judge nothing; tests do."""
