"""A real Kafka and a real Redis-protocol server on this machine: no Docker, no Java to install, no root.

The way in is `penstock.local.services.LocalServices.start(directory)`; what it writes lies in `<directory>/.penstock/`.
"""
