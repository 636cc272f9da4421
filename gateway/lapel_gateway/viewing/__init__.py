"""Clips as people see and take them: opened, assembled, copied for viewing, exported."""
