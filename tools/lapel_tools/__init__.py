"""The `lapel` command and what technicians and evidence officers do with it."""
