"""What is going on at a gateway, in a terminal: followed over the API, or read from the installation's own data."""
