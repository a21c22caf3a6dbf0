"""The domain: reading, windows, models, training, scoring, latency, ONNX. Knows neither trackers nor YAML."""
