"""A hardware stand-in: a board for the real firmware and the world around it."""
