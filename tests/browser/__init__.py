"""Tests of the browser ring."""
