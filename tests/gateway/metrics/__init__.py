"""Tests of the gateway's figures, health and alert rules."""
