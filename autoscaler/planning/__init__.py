"""From a forecast and a backlog to the number of workers that the objective needs."""
