"""A live run beside the simulator's, on the same arrivals: whether what is simulated is what happens."""
