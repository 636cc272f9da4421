"""Attacks on the whole system: one test for every property that must hold and every threat of SPEC section 12."""
