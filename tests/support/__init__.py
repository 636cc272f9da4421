"""What several rings of tests use: protocol-true devices, and a gateway joined to them."""
