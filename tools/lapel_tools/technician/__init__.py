"""A technician's work on devices, from a bare board to a shoulder and back."""
