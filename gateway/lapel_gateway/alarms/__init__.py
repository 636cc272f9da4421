"""Alarms: entered, told of step by step, answered by humans, reported on."""
