"""Benchmarks beside the alternatives: `penstock bench data-plane`."""
