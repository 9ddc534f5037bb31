"""The TF Serving API without TensorFlow: messages, codec, and clients for gRPC."""
