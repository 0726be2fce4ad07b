"""Groups of workers in simulated time: a fixed fleet exactly, and the policy in a closed loop."""
