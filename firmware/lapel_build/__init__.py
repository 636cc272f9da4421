"""Makes what is put onto a device, simulated or real: compiled code, and the image of its key sectors. On CPython."""
