"""The picture of now: what is read, what is told of its changes, and what is said when it cannot be read."""
