"""Drivers of real boards, under the real MicroPython, on models of their chips."""
