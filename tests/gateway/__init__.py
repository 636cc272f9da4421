"""Tests of the gateway ring."""
