"""Modules by the names under which MicroPython has them. This folder is put on its path, not imported as a package."""
