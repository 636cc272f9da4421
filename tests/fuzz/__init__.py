"""Coverage-guided fuzzing of every decoder."""
