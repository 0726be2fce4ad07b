"""What may come within the actuation delay: an upper quantile of the rate, never below what is arriving now."""

from autoscaler.forecasting.autoreg import ForecastMemory, preload
from autoscaler.forecasting.forecast import forecast

__all__ = ["ForecastMemory", "forecast", "preload"]
