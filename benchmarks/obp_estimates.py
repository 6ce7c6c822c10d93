"""The same rows as `policies_against_obp.py`, estimated by the Open Bandit Pipeline; run in an environment of its own.

    python obp_estimates.py ROWS.npz     prints JSON: estimator -> value

It imports nothing of streamscore, because obp 0.5.7 needs a Python that streamscore does not run on.
"""

from __future__ import annotations

import json
import sys
import warnings

import numpy as np

warnings.simplefilter("ignore")

from obp.ope import (  # noqa: E402
    DirectMethod,
    DoublyRobust,
    InverseProbabilityWeighting,
    SelfNormalizedInverseProbabilityWeighting,
)


def estimates(rows):
    """Return what obp's estimators say of arrays as in `policies_against_obp.Rows`."""
    logged = {
        "reward": rows["reward"],
        "action": rows["action"],
        "pscore": rows["propensity"],
        "action_dist": rows["target"][:, :, np.newaxis],
        "position": np.zeros(len(rows["action"]), dtype=int),
    }
    modelled = {**logged, "estimated_rewards_by_reg_model": rows["model"][:, :, np.newaxis]}
    return {
        "ips": InverseProbabilityWeighting().estimate_policy_value(**logged),
        "snips": SelfNormalizedInverseProbabilityWeighting().estimate_policy_value(**logged),
        "dm": DirectMethod().estimate_policy_value(**modelled),
        "dr": DoublyRobust().estimate_policy_value(**modelled),
    }


if __name__ == "__main__":
    print(json.dumps({name: float(value) for name, value in estimates(np.load(sys.argv[1])).items()}))
