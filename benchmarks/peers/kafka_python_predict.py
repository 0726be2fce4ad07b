"""What tutorials show: for each record `model.predict`, send, and let the client commit now and then."""

from __future__ import annotations

import keras
from kafka import KafkaConsumer, KafkaProducer
from peer import decode_binary, decode_json, encode_json, read_job, stop_event


def main() -> None:
    """Run until SIGTERM."""
    job, stop = read_job(), stop_event()
    # Keras' own way to `predict` with a SavedModel that was exported for serving.
    inputs = keras.Input((8, 8, 1), name="image")
    outputs = keras.layers.TFSMLayer(job["model"], call_endpoint="serving_default")(inputs)
    model = keras.Model(inputs, outputs)
    consumer = KafkaConsumer(
        job["requests"], bootstrap_servers=job["bootstrap"], group_id=job["group"], auto_offset_reset="earliest"
    )
    producer = KafkaProducer(bootstrap_servers=job["bootstrap"])
    json = job["encoding"] == "json"
    while not stop.is_set():
        for records in consumer.poll(timeout_ms=100).values():
            for record in records:
                pictures = decode_json(record.value) if json else decode_binary(record.value, record.headers)
                probabilities = model.predict(pictures, verbose=0)["probabilities"]
                value = encode_json(probabilities) if json else probabilities.tobytes()
                producer.send(job["results"], value=value, key=record.key)
                if stop.is_set():
                    break
    producer.close()


if __name__ == "__main__":
    main()
