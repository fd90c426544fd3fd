"""Training on data sets: the task, the loop, checkpoints, what a run leaves behind."""

from minigraph.training.callbacks import (
    Callback,
    EarlyStopping,
    JsonLog,
    TensorBoardLog,
    Training,
)
from minigraph.training.checkpoint import CheckpointError
from minigraph.training.evaluation import Evaluation, evaluate
from minigraph.training.fit import TrainingError, fit
from minigraph.training.history import History
from minigraph.training.progress import ProgressBar
from minigraph.training.run_folder import RunFolder
from minigraph.training.task import LabelTask, card_of

__all__ = [
    "Callback",
    "CheckpointError",
    "EarlyStopping",
    "Evaluation",
    "History",
    "JsonLog",
    "LabelTask",
    "ProgressBar",
    "RunFolder",
    "TensorBoardLog",
    "Training",
    "TrainingError",
    "card_of",
    "evaluate",
    "fit",
]
