"""`penstock plan`: from a workload and measured workers to a fleet, partitions, storage and a bill."""
