"""How large a record may be at all."""

from __future__ import annotations

import pytest

from streams.out_records import OutRecord, RecordTooLarge, check_size

MOST_BYTES = 64 << 20


def test_key_and_value_together_have_as_many_bytes_as_a_broker_answers_to() -> None:
    value = bytes(MOST_BYTES - 3)

    for record in (OutRecord(b"key", value), OutRecord(value, b"key"), OutRecord(None, value), OutRecord(value, None)):
        check_size(record, "scores")
    for record in (OutRecord(b"key4", value), OutRecord(value, b"key4")):
        with pytest.raises(
            RecordTooLarge, match=f"Expected at most {MOST_BYTES} bytes, got {MOST_BYTES + 1}, for scores"
        ):
            check_size(record, "scores")
