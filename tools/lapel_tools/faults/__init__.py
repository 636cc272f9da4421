"""Seeded fault schedules over the real cores of both sides, in one process and in virtual time.

Real: the device's application with its key store, spool, journal and uplink; the gateway's ingest, alarms, ledger
(SQLite) and vault. Replaced: the medium under the files, the network and broker, clocks and entropy. The same seed
gives the same run.
"""
