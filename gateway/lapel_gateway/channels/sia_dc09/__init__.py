"""Alarms to alarm receiving centres over IP, as ANSI/SIA DC-09 (2013, 2021) says."""
