"""`penstock train`: a training stage under resource watch, on the real handwritten digits or on data of the user's."""
