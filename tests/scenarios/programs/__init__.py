"""Small MicroPython programs that tests run on a simulated board in the firmware's place."""
