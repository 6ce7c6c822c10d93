"""How good scores were, and whether they beat what a simple rule would have said."""

from online_models.validation.baselines import Baselines, Rule
from online_models.validation.histogram import OperatingPoint, ScoreHistogram
from online_models.validation.judge import BY_BUDGET, Judge
from online_models.validation.recent import RecentScores

__all__ = ["BY_BUDGET", "Baselines", "Judge", "OperatingPoint", "RecentScores", "Rule", "ScoreHistogram"]
