"""What flows: records, tensors, topics, the client, dead letters, arrivals, and the Faust agent."""
