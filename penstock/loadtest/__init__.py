"""`penstock loadtest`: a ramp against a running pipeline, open loop, up to where it breaks."""
