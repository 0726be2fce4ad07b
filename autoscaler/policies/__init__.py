"""Rules that turn an observation into a decision. Each is a pure function of its inputs."""
