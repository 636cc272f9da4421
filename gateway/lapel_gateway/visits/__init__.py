"""Visits that watch over a lone worker: their course, their timers, where they are, and what is known of the place."""
