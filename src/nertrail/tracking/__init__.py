"""Where records go: a journal on disk first, an MLflow server later."""
