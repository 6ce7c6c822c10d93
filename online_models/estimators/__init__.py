"""Models that learn one example at a time."""

from online_models.estimators.base import Estimator
from online_models.estimators.registry import build, sums_up
from online_models.estimators.sparse_ftrl import SparseFTRL

__all__ = ["Estimator", "SparseFTRL", "build", "sums_up"]
