"""What if another policy had decided? Off-policy estimates from logged propensities."""

from online_models.policies.estimators import ESTIMATORS, Estimate, OffPolicy

__all__ = ["ESTIMATORS", "Estimate", "OffPolicy"]
