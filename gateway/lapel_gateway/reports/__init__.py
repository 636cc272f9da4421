"""Figures over a period: how alarms were answered, and what a trial of the cameras shows."""
