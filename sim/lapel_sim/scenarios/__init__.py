"""The scenarios that the simulator brings, one module each; see lapel_sim.scenario."""
