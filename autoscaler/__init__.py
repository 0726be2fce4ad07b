"""What decides how many workers a pipeline needs: rates, forecasts, queueing, plans, actuators."""
