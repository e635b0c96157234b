"""What a checkpoint sees in images."""

from catlipctl.transfer.prediction.predict import Predictions, predict

__all__ = ["Predictions", "predict"]
