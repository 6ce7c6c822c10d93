"""Carries models that only pickle can carry, and refuses everything else that pickle could do.

Reading a pickle runs what it says. Two locks, both needed: the bytes must be signed with the team's
key (HMAC-SHA256, checked before a byte of it is read), and only classes that a model is made of may
be named in them; functions that reach the system are in none of the modules that are let through.
"""

from __future__ import annotations

import hmac
import io
import pickle
from hashlib import sha256
from typing import Any

from schemas.codec import BadRecord
from schemas.dead_letters import INVALID

_MAGIC = b"streamscore-pickle-1\n"
_SIGNATURE_BYTES = 32
MAX_BYTES = 256 * 1024 * 1024

# Classes of the model library; `river.datasets` and other helpers that touch files are left out.
_MODULES = (
    "river.anomaly",
    "river.base",
    "river.bayes",
    "river.compose",
    "river.drift",
    "river.ensemble",
    "river.facto",
    "river.feature_extraction",
    "river.forest",
    "river.linear_model",
    "river.metrics",
    "river.naive_bayes",
    "river.neighbors",
    "river.neural_net",
    "river.optim",
    "river.preprocessing",
    "river.proba",
    "river.rules",
    "river.stats",
    "river.tree",
    "river.utils",
)
_NAMES = {
    "builtins": {
        "set",
        "frozenset",
        "complex",
        "slice",
        "range",
        "bytearray",
        "object",
        "int",
        "float",
        "bool",
        "list",
        "dict",
        "tuple",
        "str",
    },
    "collections": {"defaultdict", "OrderedDict", "Counter", "deque"},
    "copyreg": {"_reconstructor"},
    "datetime": {"datetime", "timedelta"},
    "functools": {"partial"},
    "math": {"log", "exp", "sqrt", "tanh"},
    "numpy": {"ndarray", "dtype", "float64", "int64", "sign"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy.random._pickle": {"__randomstate_ctor", "__generator_ctor", "__bit_generator_ctor"},
    "numpy.random._mt19937": {"MT19937"},
    "numpy.random._pcg64": {"PCG64"},
    "random": {"Random"},
}


def dumps(model: object, *, key: bytes) -> bytes:
    """Pickle and sign a model."""
    body = pickle.dumps(model, protocol=5)
    return _MAGIC + _sign(body, key) + body


def loads(blob: bytes, *, key: bytes) -> Any:
    """Check the signature, then unpickle through the allow-list.

    Raises
    ------
    BadRecord
        No model of ours: too large, not signed with this key, or made of something that no model needs.
    """
    if len(blob) > MAX_BYTES:
        raise BadRecord(INVALID, f"model: Expected at most {MAX_BYTES} bytes, got {len(blob)}")
    head = len(_MAGIC) + _SIGNATURE_BYTES
    signature, body = blob[len(_MAGIC) : head], blob[head:]
    if blob[: len(_MAGIC)] != _MAGIC or not hmac.compare_digest(signature, _sign(body, key)):
        raise BadRecord(INVALID, "model: the signature is wrong; was it written with another STREAMSCORE_MODEL_KEY?")
    try:
        return _Unpickler(io.BytesIO(body)).load()
    except pickle.UnpicklingError as error:
        raise BadRecord(INVALID, f"model: {error}") from None


def _sign(body: bytes, key: bytes) -> bytes:
    return hmac.new(key, body, sha256).digest()


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        # A dotted name would walk from an allowed class to the modules that it imports.
        allowed = "." not in name and (
            name in _NAMES.get(module, ()) or any(module == one or module.startswith(one + ".") for one in _MODULES)
        )
        found = super().find_class(module, name) if allowed else None
        if found is None or (module.startswith("river.") and getattr(found, "__module__", "").split(".")[0] != "river"):
            raise pickle.UnpicklingError(f"{module}.{name} is not part of a model")
        return found
