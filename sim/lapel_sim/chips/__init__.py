"""Register-level models of chips that drivers in lapel_device/boards/ talk to, and of the bus between them."""
