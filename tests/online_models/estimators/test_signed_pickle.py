"""A pickle is opened only if it is ours, and then only if it holds nothing that acts."""

from __future__ import annotations

import io
import os
import pickle
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import ensemble, forest, linear_model, tree

from online_models.estimators import signed_pickle
from online_models.estimators.signed_pickle import dumps, loads
from schemas.codec import BadRecord

KEY = b"sixteen bytes or more"
CONTEXT = "click/1f0c"


def signed(body: bytes) -> bytes:
    """Sign bytes that `dumps` would never have made, as somebody with the key could."""
    return signed_pickle.MAGIC + signed_pickle._signature(KEY, CONTEXT, body) + body


class Acts:
    """Pickles into a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def test_a_signed_model_comes_back() -> None:
    model = linear_model.LogisticRegression()
    model.learn_one({"a": 1.0}, True)

    restored = loads(dumps(model, key=KEY, context=CONTEXT), key=KEY, context=CONTEXT)

    assert restored.predict_proba_one({"a": 2.0}) == model.predict_proba_one({"a": 2.0})


@given(st.data())
def test_a_changed_byte_is_noticed(data: st.DataObject) -> None:
    blob = bytearray(dumps({"a": [1, 2, 3]}, key=KEY, context=CONTEXT))
    at = data.draw(st.integers(0, len(blob) - 1))
    blob[at] ^= data.draw(st.integers(1, 255))

    with pytest.raises(BadRecord, match=r"wrong signature|expected a signed pickle"):
        loads(bytes(blob), key=KEY, context=CONTEXT)


@pytest.mark.parametrize("length", [0, 3, 4, 35, 36, 50])
def test_cut_bytes_are_refused(length: int) -> None:
    with pytest.raises(BadRecord, match="model: "):
        loads(dumps(list(range(100)), key=KEY, context=CONTEXT)[:length], key=KEY, context=CONTEXT)


@pytest.mark.parametrize(("key", "context"), [(b"another key of 16", CONTEXT), (KEY, "purchase/1f0c")])
def test_another_key_or_context_is_refused(key: bytes, context: str) -> None:
    with pytest.raises(BadRecord, match="wrong signature"):
        loads(dumps([1], key=KEY, context=CONTEXT), key=key, context=context)


def test_the_signature_is_checked_before_anything_is_unpickled(tmp_path: Path) -> None:
    proof = tmp_path / "executed"
    body = pickle.dumps(Acts(os.mkdir, str(proof)))

    with pytest.raises(BadRecord, match="wrong signature"):
        loads(signed_pickle.MAGIC + bytes(32) + body, key=KEY, context=CONTEXT)

    assert not proof.exists()


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 16 bytes"):
        dumps([1], key=b"short", context=CONTEXT)


@pytest.mark.parametrize(
    "evil",
    [
        Acts(os.system, "exit 3"),
        Acts(os.mkdir, "executed"),
        Acts(eval, "1 + 1"),
        Acts(exec, "raise SystemExit"),
        Acts(__import__, "os"),
        Acts(getattr, {}, "keys"),
        Acts(open, "executed", "w"),
        Acts(io.FileIO, "executed", "w"),
        Acts(pickle.loads, b"N."),
    ],
    ids=lambda evil: str(evil.call[0].__name__),
)
def test_a_malicious_pickle_signed_with_the_right_key_is_refused(
    evil: Acts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(BadRecord, match="not on the list"):
        loads(signed(pickle.dumps({"model": evil})), key=KEY, context=CONTEXT)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("river.datasets.base", "FileDataset"),  # reads files
        ("river.datasets", "SMSSpam"),  # downloads
        ("river.stream", "iter_csv"),
        ("river.compat", "SKL2RiverClassifier"),  # wraps foreign objects
        ("river.linear_model.base", "numbers"),  # a module that River imports
        ("river.utils.math", "np.load"),  # a path through it
        ("river.optim.losses", "clamp_proba"),  # a function
        ("river.linear_model.log_reg", "LogisticRegression.learn_one"),  # a method
        ("riverbank", "LogisticRegression"),
        ("builtins", "eval"),
        ("collections", "namedtuple"),
    ],
)
def test_names_beside_the_list_are_refused(module: str, name: str) -> None:
    body = (
        b"\x80\x05"
        + b"".join(b"\x8c" + bytes([len(part)]) + part for part in (module.encode(), name.encode()))
        + b"\x93."
    )

    with pytest.raises(BadRecord, match=r"not on the list|ModuleNotFoundError"):
        loads(signed(body), key=KEY, context=CONTEXT)


@pytest.mark.parametrize("body", [b"", b".", b"\x80\x05", b"\x80\x05K", b"garbage", b"\x80\x05]\x94(" * 40])
def test_signed_garbage_is_a_bad_record(body: bytes) -> None:
    with pytest.raises(BadRecord, match="model: "):
        loads(signed(body), key=KEY, context=CONTEXT)


def test_size_is_limited_on_both_sides() -> None:
    blob = dumps("x" * 200, key=KEY, context=CONTEXT)

    with pytest.raises(BadRecord, match="at most 100 bytes"):
        loads(blob, key=KEY, context=CONTEXT, max_bytes=100)
    with pytest.raises(ValueError, match="at most 100 bytes"):
        dumps("x" * 200, key=KEY, context=CONTEXT, max_bytes=100)


@pytest.mark.parametrize(
    "model",
    [
        tree.HoeffdingAdaptiveTreeClassifier(grace_period=20, seed=1),
        forest.ARFClassifier(n_models=2, seed=1),
        ensemble.ADWINBaggingClassifier(tree.HoeffdingTreeClassifier(), n_models=2, seed=1),
        ensemble.SRPClassifier(n_models=2, seed=1),
    ],
    ids=lambda model: type(model).__name__,
)
def test_river_models_with_trees_and_detectors_pass_the_list(model: Any) -> None:
    rng = random.Random(2)
    for _ in range(300):
        x = {"a": rng.random(), "b": rng.random()}
        model.learn_one(x, x["a"] > 0.5)

    restored = loads(dumps(model, key=KEY, context=CONTEXT), key=KEY, context=CONTEXT)

    for _ in range(100):
        x = {"a": rng.random(), "b": rng.random()}
        assert restored.predict_proba_one(x) == model.predict_proba_one(x)
        restored.learn_one(x, x["a"] > 0.5)
        model.learn_one(x, x["a"] > 0.5)
