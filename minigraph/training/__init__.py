"""Training on data sets: the task, the loop, what a run leaves behind."""

from minigraph.training.loop import Evaluation, evaluate, train_epochs
from minigraph.training.run_folder import RunFolder
from minigraph.training.task import LabelTask

__all__ = ["Evaluation", "LabelTask", "RunFolder", "evaluate", "train_epochs"]
