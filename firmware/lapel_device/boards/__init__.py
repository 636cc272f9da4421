"""The hardware seam: the contract (contract.py) and what MicroPython boards share.

Only this folder imports machine, network, os, socket or time.
"""
