"""Tests, one folder a ring."""
