"""What a checkpoint sees in images."""

from catlipctl.transfer.prediction.choice import Choice
from catlipctl.transfer.prediction.inputs import open_inputs
from catlipctl.transfer.prediction.predict import Predictions, predict
from catlipctl.transfer.prediction.tags import Tags, check_out, write_tags

__all__ = ["Choice", "Predictions", "Tags", "check_out", "open_inputs", "predict", "write_tags"]
