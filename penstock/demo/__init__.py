"""The demo: a real run end to end, watched live and checked request by request at its end."""
