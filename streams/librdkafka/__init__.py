"""The other Kafka client, librdkafka (`confluent-kafka`), for what a worker does for each record; an extra.

The one package that touches it. It has what `streams.kafka` has for a worker: a group consumer, transactions and a
plain producer, behind the same methods. All else (administration, telemetry, the autoscaler, `InferenceClient`) stays
with kafka-python. `streams.data_path` chooses.
"""
