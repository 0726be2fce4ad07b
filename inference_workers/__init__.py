"""What does the work: consume requests, batch them, run the model, deliver each result once."""
