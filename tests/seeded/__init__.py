"""Tests of the seeded ring."""
