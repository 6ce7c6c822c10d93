"""Features: declared in the configuration, compiled to fast code, pure. See docs/features.md."""

from online_models.features.compile import compile_features
from online_models.features.feature_set import FeatureSet

__all__ = ["FeatureSet", "compile_features"]
