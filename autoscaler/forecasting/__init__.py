"""What may come: sample paths of the arrivals, and the upper quantile that the sizing of before works with."""

from autoscaler.forecasting.autoreg import ForecastMemory, preload
from autoscaler.forecasting.forecast import forecast
from autoscaler.forecasting.forecaster import Forecaster
from autoscaler.forecasting.settings import ForecastSettings
from autoscaler.forecasting.state import ForecastState, Paths

__all__ = ["ForecastMemory", "ForecastSettings", "ForecastState", "Forecaster", "Paths", "forecast", "preload"]
