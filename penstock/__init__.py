"""The front door: command line, settings, wiring, the embedded services and the demo."""
