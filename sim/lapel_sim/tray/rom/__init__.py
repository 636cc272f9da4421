"""What a tray board has beside MicroPython itself. Runs on MicroPython; `start.py` is its entry."""
