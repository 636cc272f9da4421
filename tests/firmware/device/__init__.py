"""Code of the firmware tests that runs on the real MicroPython."""
