"""The simulated board: what the real MicroPython loads. Everything else in lapel_sim runs on CPython."""
