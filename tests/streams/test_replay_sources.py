"""What a replay reads, and in which order."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.mapping import Mapping
from streams.partitioning import partition_of
from streams.replay.chunks import Chunk
from streams.replay.files import FilesSource
from streams.replay.merge import Merge
from streams.replay.spec import ByOffset, ByTime, FileInput, SpecError, TopicRange, parse_spec

MIDNIGHT = 1_793_491_200_000  # 2026-11-01T00:00Z


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("kafka://events", TopicRange("events")),
        (
            "kafka://shop.events?from=2026-11-01T00:00Z&to=2026-11-01T02:00%2B01:00",
            TopicRange("shop.events", ByTime(MIDNIGHT), ByTime(MIDNIGHT + 3_600_000)),
        ),
        ("kafka://e?from=2026-11-01", TopicRange("e", ByTime(MIDNIGHT))),
        (f"kafka://e?from={MIDNIGHT}", TopicRange("e", ByTime(MIDNIGHT))),
        (
            "kafka://e?from=10&to=20&partitions=0,3",
            TopicRange("e", ByOffset({None: 10}), ByOffset({None: 20}), frozenset({0, 3})),
        ),
        ("kafka://e?from=0:5&to=0:5", TopicRange("e", ByOffset({0: 5}), ByOffset({0: 5}))),  # all of the others
        ("kafka://e?from=5&to=0:5,1:7", TopicRange("e", ByOffset({None: 5}), ByOffset({0: 5, 1: 7}))),
        ("kafka://e?to=0:5,1:7", TopicRange("e", None, ByOffset({0: 5, 1: 7}))),
        ("day.csv.gz", FileInput(Path("day.csv.gz"))),
        ("-", FileInput(Path("-"))),
    ],
)
def test_a_source_is_a_range_of_a_topic_or_a_file(text: str, meant: object) -> None:
    assert parse_spec(text) == meant


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("http://x/y.csv", "Expected kafka://topic or the path of a file"),
        ("kafka://", "Expected kafka://topic"),
        ("kafka://broker:9092/events", "the broker's address being in the configuration"),
        ("kafka://e?since=1", "Unknown part 'since'"),
        ("kafka://e?from=yesterday", "Expected `from` to be a time"),
        ("kafka://e?from=2026-11-02&to=2026-11-01", "Expected `to` after `from`"),
        ("kafka://e?from=5&to=3", "Expected `to` above `from`"),
        ("kafka://e?from=5&to=5", "Expected `to` above `from`"),
        ("kafka://e?from=0:1,1:5&to=0:9,1:3", "Expected `to` above `from`"),
        ("kafka://e?from=5&to=0:9,1:3", "Expected `to` above `from`"),
        ("kafka://e?partitions=a", "Expected `partitions` to be numbers"),
    ],
)
def test_a_source_that_cannot_be_meant_is_refused_with_what_can(text: str, why: str) -> None:
    with pytest.raises(SpecError, match=why):
        parse_spec(text)


@given(
    lanes=st.lists(st.lists(st.integers(0, 20)).map(sorted), min_size=1, max_size=4),
    seed=st.integers(0, 1000),
)
def test_a_merge_gives_the_sorted_whole_however_its_lanes_are_filled(lanes: list[list[int]], seed: int) -> None:
    items = [[((ts, lane, at), (lane, at)) for at, ts in enumerate(times)] for lane, times in enumerate(lanes)]
    merge: Merge[tuple[int, int]] = Merge(range(len(lanes)))
    draw = random.Random(seed)
    waiting = {lane: list(one) for lane, one in enumerate(items)}
    out: list[tuple[int, int]] = []

    while not merge.ended:
        lane = draw.choice(sorted(waiting)) if waiting else None
        if lane is not None:
            size = draw.randint(0, 3)
            merge.put(lane, waiting[lane][:size])
            del waiting[lane][:size]
            if not waiting[lane]:
                merge.end(lane)
                del waiting[lane]
        out += merge.ready(draw.randint(0, 5))
        assert waiting or lane is None or not merge.hungry

    assert out == [item for _, item in sorted(one for lane in items for one in lane)]


def rows(folder: Path, name: str, count: int, start: int = 0) -> FileInput:
    path = folder / name
    lines = [
        f'{{"type":"page_view","event_id":"{name}-{n}","user_id":"u{n % 7}","ts":{MIDNIGHT + start + n}}}'
        for n in range(count)
    ]
    path.write_text("\n".join(lines))
    return FileInput(path)


def source(files: list[FileInput], limit: int | None = None) -> FilesSource:
    return FilesSource(files, Mapping.load("events"), topic="events", partitions=4, limit=limit)


async def test_events_of_files_stand_where_feeding_them_would_have_put_them(tmp_path: Path) -> None:
    files = [rows(tmp_path, "a.jsonl", 50), rows(tmp_path, "b.jsonl", 30, start=1000)]

    arrivals = [one async for chunk in source(files).chunks(11) for one in chunk.arrivals]

    assert [event.ts for _, _, _, event in arrivals] == [
        *range(MIDNIGHT, MIDNIGHT + 50),
        *range(MIDNIGHT + 1000, MIDNIGHT + 1030),
    ]
    offsets: dict[int, int] = {}
    for partition, offset, _, event in arrivals:
        assert partition == partition_of(event.user_id.encode(), 4)  # type: ignore[union-attr]
        assert offset == offsets.get(partition, 0)
        offsets[partition] = offset + 1


async def test_a_file_goes_on_from_a_position_and_ends_at_a_limit(tmp_path: Path) -> None:
    file = rows(tmp_path, "a.jsonl", 50)
    chunks: list[Chunk] = [chunk async for chunk in source([file], limit=40).chunks(15)]

    rest = [chunk async for chunk in source([file], limit=40).chunks(15, position=chunks[0].position)]

    assert [chunk.records for chunk in chunks] == [15, 15, 10]
    assert [chunk.arrivals for chunk in rest] == [chunk.arrivals for chunk in chunks[1:]]
    assert chunks[-1].progress == 1.0
