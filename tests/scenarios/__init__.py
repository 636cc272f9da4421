"""Tests of the scenarios ring."""
