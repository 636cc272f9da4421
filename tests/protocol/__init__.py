"""Tests of the protocol ring."""
