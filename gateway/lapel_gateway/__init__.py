"""The Linux side of Lapel: alarms, ingest, delivery and the operators' API."""
