"""The terminal monitor and the lines of `lapel watch`, each with a real gateway."""
