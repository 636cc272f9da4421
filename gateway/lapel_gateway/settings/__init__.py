"""``lapel.toml``: what can be set, how it is explained, and what is wrong with it together."""
