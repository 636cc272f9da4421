"""Tests of the tools ring."""
