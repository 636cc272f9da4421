"""What the models raise when a driver does what hardware would not forgive."""


class Misuse(AssertionError):
    """A driver's mistake: on a real board something would break, or silently not work."""
