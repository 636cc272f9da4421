"""Programs for the real MicroPython on models."""
