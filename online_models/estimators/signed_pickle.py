"""Carries what only pickle can carry: signed, bounded, and through an allow-list of classes.

Unpickling runs whatever its author wishes. So the bytes must first show, by HMAC-SHA256, that they
were written by a holder of the key, and *for this purpose*: the context (objective and lineage) is
signed with them, hence a valid blob cannot be moved to another place. A leaked key alone is not
enough either: the unpickler resolves classes of River and a few containers of the standard library
and NumPy, and nothing that starts, opens, imports or evaluates anything.

Layout: ``magic and version (4) | HMAC-SHA256 (32) | pickle``. Models are as portable as pickles
are: between the same versions of River.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import pickle
from typing import Any

from schemas.codec import BadRecord
from schemas.dead_letters import INVALID, TOO_LARGE

MAGIC = b"SSP1"
MIN_KEY_BYTES = 16
# A forest of ten deep trees is some MB; a model that outgrows this should not travel every second.
MAX_BYTES = 64 * 1024 * 1024

_DIGEST_BYTES = 32
_HEADER_BYTES = len(MAGIC) + _DIGEST_BYTES
_PROTOCOL = 5

# Each name is a class or a constructor that only builds values. `getattr` is not among them, though
# River's LeveragingBagging wants it: with it every method of every reachable object could be called.
_ALLOWED = {
    "builtins": {"bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "object"}
    | {"range", "set", "slice", "str", "tuple"},
    "collections": {"Counter", "OrderedDict", "defaultdict", "deque"},
    "copyreg": {"_reconstructor"},
    "datetime": {"date", "datetime", "timedelta"},
    "functools": {"partial"},
    "numpy": {"dtype", "ndarray"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.numeric": {"_frombuffer"},
    "numpy.random._mt19937": {"MT19937"},
    "numpy.random._pcg64": {"PCG64"},
    "numpy.random._pickle": {"__bit_generator_ctor", "__generator_ctor", "__randomstate_ctor"},
    "random": {"Random"},
    # The two functions that River's models hold on to.
    "river._river_rust.vectordict": {"VectorDict", "euclidean_distance_tuple"},
    "river.naive_bayes.gaussian": {"GaussianNB", "GaussianNB._make_gaussian"},
}
# Parts of River that read files, download, or wrap foreign objects.
_REFUSED_RIVER = {"api", "checks", "compat", "datasets", "evaluate", "stream"}


def dumps(value: object, *, key: bytes, context: str, max_bytes: int = MAX_BYTES) -> bytes:
    """Pickle and sign.

    Parameters
    ----------
    key
        At least 16 secret bytes.
    context
        What the bytes are for; `loads` must be given the same.

    Raises
    ------
    ValueError
        The key is too short, or the value is larger than `max_bytes` when pickled.
    """
    _check_key(key)
    body = pickle.dumps(value, protocol=_PROTOCOL)
    if len(body) > max_bytes:
        raise ValueError(f"Expected at most {max_bytes} bytes of pickled model, got {len(body)}; bound its size")
    return MAGIC + _signature(key, context, body) + body


def loads(blob: bytes, *, key: bytes, context: str, max_bytes: int = MAX_BYTES) -> Any:
    """Check the signature, then unpickle what is allowed.

    Raises
    ------
    BadRecord
        Too large, not ours, signed with another key or for another context, or holding something
        that is not on the list. Nothing was executed.
    """
    _check_key(key)
    if len(blob) > max_bytes + _HEADER_BYTES:
        raise BadRecord(TOO_LARGE, f"model: expected at most {max_bytes} bytes, got {len(blob)}")
    if len(blob) < _HEADER_BYTES or blob[: len(MAGIC)] != MAGIC:
        raise BadRecord(INVALID, f"model: expected a signed pickle of version {MAGIC.decode()}")
    body = blob[_HEADER_BYTES:]
    if not hmac.compare_digest(blob[len(MAGIC) : _HEADER_BYTES], _signature(key, context, body)):
        raise BadRecord(INVALID, "model: wrong signature; was it written with another STREAMSCORE_MODEL_KEY?")
    try:
        return _RestrictedUnpickler(io.BytesIO(body)).load()
    except pickle.UnpicklingError as error:
        raise BadRecord(INVALID, f"model: {error}") from None
    except Exception as error:  # the bytes decide what is raised: cut short, of another River version, or nonsense
        raise BadRecord(INVALID, f"model: cannot be unpickled: {type(error).__name__}") from None


def _check_key(key: bytes) -> None:
    if len(key) < MIN_KEY_BYTES:
        raise ValueError(f"Expected a key of at least {MIN_KEY_BYTES} bytes, got {len(key)}")


def _signature(key: bytes, context: str, body: bytes) -> bytes:
    signed = hmac.new(key, MAGIC, hashlib.sha256)
    name = context.encode()
    signed.update(len(name).to_bytes(4, "big"))
    signed.update(name)
    signed.update(body)
    return signed.digest()


class _RestrictedUnpickler(pickle.Unpickler):
    """Resolves names on the list and classes of River; refuses all else."""

    def find_class(self, module: str, name: str) -> Any:
        if name in _ALLOWED.get(module, ()):
            return super().find_class(module, name)
        if _is_river(module) and "." not in name:
            found = super().find_class(module, name)
            # Modules of River also name what they import: only what River itself defines is a class of River.
            if isinstance(found, type) and _is_river(found.__module__):
                return found
        raise pickle.UnpicklingError(f"{module}.{name} is not on the list of what may be unpickled")


def _is_river(module: str) -> bool:
    package, _, rest = module.partition(".")
    return package == "river" and rest.partition(".")[0] not in _REFUSED_RIVER
