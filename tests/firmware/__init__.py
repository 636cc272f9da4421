"""Tests of the firmware ring."""
