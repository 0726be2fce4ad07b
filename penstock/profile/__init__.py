"""`penstock profile`: what a model costs on a device: seconds a batch, memory, start, and how sure that is."""
