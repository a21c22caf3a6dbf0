"""One tracker per stage; the public door is `nertrail.tracking.mlflow_tracker`."""
