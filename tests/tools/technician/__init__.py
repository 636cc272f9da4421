"""A technician's commands."""
