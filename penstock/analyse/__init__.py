"""`penstock analyse`: what a workload is like, from a file or from the requests topic itself."""
