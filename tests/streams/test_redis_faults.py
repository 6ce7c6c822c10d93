"""What the store makes of errors that no server here can be made to give."""

from __future__ import annotations

import pytest
from redis import exceptions as errors

from streams.stores import StoreMisconfigured, Unavailable
from streams.stores.redis_client import faults, is_of_a_replica, translated


@pytest.mark.parametrize(
    "error",
    [
        errors.BusyLoadingError("Redis is loading the dataset in memory"),
        errors.ClusterDownError("The cluster is down"),
        errors.MasterDownError("Link with MASTER is down"),
        errors.TryAgainError("Multiple keys request during rehashing of slot"),
        errors.ResponseError("MISCONF Redis is configured to save RDB snapshots, but it's unable to persist to disk."),
        errors.ResponseError("BUSY Redis is busy running a script."),
        errors.ResponseError(
            "Error running script (call to f_1): @user_script:8: @user_script: 8: -OOM command not allowed"
        ),
        errors.ResponseError("Error running script (call to f_1): @user_script:8: -READONLY You can't write"),
        ConnectionResetError("peer"),
        TimeoutError(),
        RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed"),
    ],
)
def test_what_may_pass_is_unavailable(error: Exception) -> None:
    assert isinstance(translated(error), Unavailable)


@pytest.mark.parametrize(
    "error",
    [
        errors.AuthorizationError("no"),
        errors.ResponseError("DB index is out of range"),
        errors.ResponseError("unknown command 'UNLINK', with args beginning with: 'a-users-id'"),
        errors.MovedError("5 127.0.0.1:7000"),
    ],
)
def test_what_will_not_pass_is_told_without_what_was_asked(error: Exception) -> None:
    told = translated(error)

    assert isinstance(told, StoreMisconfigured)
    assert "a-users-id" not in str(told)


def test_a_clusters_error_does_not_repeat_the_command() -> None:
    error = errors.RedisClusterException("No targets were found to execute ('SET', 'a-users-id') command on")

    assert "a-users-id" not in str(translated(error))


def test_our_own_faults_pass_as_they_are() -> None:
    with pytest.raises(errors.ResponseError, match="WRONGTYPE"), faults():
        raise errors.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")
    with pytest.raises(KeyError), faults():
        raise KeyError("a bug")
    with pytest.raises(RuntimeError, match="a bug"), faults():
        raise RuntimeError("a bug")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.ReadOnlyError("You can't write against a read only replica."), True),
        (errors.MasterDownError("Link with MASTER is down"), True),
        (errors.ResponseError("Error running script (call to f_1): @user_script:8: -READONLY You can't write"), True),
        (errors.ResponseError("MISCONF Redis is configured to save RDB snapshots"), False),
        (errors.ResponseError("unknown command 'READONLY'"), False),
        (errors.NoScriptError("No matching script"), False),
    ],
)
def test_a_server_that_has_become_a_replica_is_known_by_its_answer(error: Exception, expected: bool) -> None:
    assert is_of_a_replica(error) is expected
