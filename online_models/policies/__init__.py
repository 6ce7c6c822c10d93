"""What if another policy had decided? Off-policy estimates from logged propensities."""

from online_models.policies.declarations import Kind, Policy, parse_policies
from online_models.policies.estimators import ESTIMATORS, OffPolicy
from online_models.policies.evaluation import PolicyEvaluation

__all__ = ["ESTIMATORS", "Kind", "OffPolicy", "Policy", "PolicyEvaluation", "parse_policies"]
