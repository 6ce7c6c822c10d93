"""What a replay is asked to do: sources, candidates, and where the results go. Plain values, for processes to share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path

from online_models.validation import BY_BUDGET, OperatingPoint
from streams.mapping import Mapping as RowMapping
from streams.replay.chunks import ReplaySource
from streams.replay.files import FilesSource
from streams.replay.spec import FileInput, Spec, SpecError, TopicRange
from streams.replay.topics import Order, TopicSource, by_time
from streams.settings import Settings, load_settings
from streams.sources import open_source

DEFAULT_CHUNK = 2000


@dataclass(frozen=True)
class CandidateSpec:
    """A configuration to run.

    Attributes
    ----------
    label
        How reports and folders name it.
    config
        Path of the configuration.
    candidate
        Name under `candidates:` in it; None: the configuration itself.
    algorithm
        Name in the table of algorithms whose model takes the place of the declared ones.
    """

    label: str
    config: Path
    candidate: str | None = None
    algorithm: str | None = None

    def load(self, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read the settings; raises InvalidSettings."""
        settings = load_settings(self.config, environment, candidate=self.candidate)
        if self.algorithm is not None:
            from streams.replay.algorithms import with_algorithm

            settings = with_algorithm(settings, self.algorithm)
        return settings


@dataclass(frozen=True)
class Plan:
    """A replay.

    Attributes
    ----------
    chunk
        Records processed between two looks at the disk; decides no result.
    speed
        Times the recorded pace; None: as fast as it can.
    folder
        For scores, examples and what it takes to go on later; None: nothing is kept.
    to_topic
        Name of a topic for the scores.
    resume
        Go on from the last checkpoint in `folder`.
    overwrite
        Begin anew in a `folder` that holds an interrupted replay.
    point
        Where precision and recall are measured.
    checkpoint_s
        Seconds between checkpoints.
    now_ms
        Wall clock when it was planned, epoch ms: events of files that lie ahead of it are refused, as they would be
        when they are fed. None: none are.
    all_labels
        Labels of the candidates of the whole replay, where this is a process's part of it.
    """

    sources: tuple[Spec, ...]
    candidates: tuple[CandidateSpec, ...]
    mapping: str = "events"
    chunk: int = DEFAULT_CHUNK
    limit: int | None = None
    speed: float | None = None
    folder: Path | None = None
    to_topic: str | None = None
    resume: bool = False
    overwrite: bool = False
    as_live: bool = False
    point: OperatingPoint = BY_BUDGET
    checkpoint_s: float = 60.0
    now_ms: int | None = None
    all_labels: tuple[str, ...] = ()

    def folder_of(self, candidate: CandidateSpec) -> Path | None:
        """Return the folder of a candidate: the replay's own if it is the only one."""
        if self.folder is None:
            return None
        return self.folder if self._alone else self.folder / candidate.label

    def topic_of(self, candidate: CandidateSpec) -> str:
        """Return the topic of a candidate's scores: the replay's own if it is the only one."""
        return f"{self.to_topic}" if self._alone else f"{self.to_topic}.{candidate.label}"

    @property
    def topic(self) -> str:
        """Name of the topic that is replayed; of none, if files are."""
        return next((one.topic for one in self.sources if isinstance(one, TopicRange)), "")

    @property
    def state_name(self) -> str:
        """File name of what is kept to go on later; processes that share a folder have files of their own."""
        if not self.all_labels:
            return "replay.db"
        labels = ",".join(one.label for one in self.candidates)
        return f"replay-{blake2b(labels.encode(), digest_size=4).hexdigest()}.db"

    @property
    def from_stdin(self) -> bool:
        """Whether standard input is read, which cannot be read a second time."""
        return any(isinstance(one, FileInput) and str(one.path) == "-" for one in self.sources)

    @property
    def keeps_checkpoints(self) -> bool:
        """Whether the replay can be taken up again."""
        return self.folder is not None and not self.from_stdin

    @property
    def _alone(self) -> bool:
        return len(self.all_labels or self.candidates) == 1

    def identity(self, settings: Settings) -> str:
        """Return what must be the same for a candidate to go on: sources, mapping, candidates, configuration, version.

        Looks at the files; raises OSError where one is missing, MappingError.
        """
        sources = [
            [one.path.name, one.path.stat().st_size] if isinstance(one, FileInput) else repr(one)
            for one in self.sources
        ]
        declared = [
            version("streamscore"),
            sources,
            RowMapping.load(self.mapping).text if any(isinstance(one, FileInput) for one in self.sources) else "",
            self.all_labels or tuple(one.label for one in self.candidates),
            self.limit,
            self.as_live,
            self.point,
            [settings.lineage(one) for one in settings.objectives],
            [repr(one) for one in settings.objectives],
            [repr(one) for one in settings.rankings],
            settings.features.layout,
            settings.learning.publish_interval,
            settings.learning.publish_examples,
            settings.worker.n_reasons,
            settings.worker.max_event_bytes,
            [repr(one) for one in settings.policies],
            [settings.topics.events.name, settings.topics.events.partitions],
            *([repr(settings.bidding)] if settings.bidding else []),
        ]
        return blake2b(repr(declared).encode(), digest_size=8).hexdigest()


def check_sources(plan: Plan) -> None:
    """Look at the head of every file, so that a fault in the last one is told before the first is read.

    Raises
    ------
    MappingError, SourceError
        A file cannot be read, or the mapping does not fit it.
    """
    paths = [one.path for one in plan.sources if isinstance(one, FileInput)]
    mapping = RowMapping.load(plan.mapping) if paths else None
    for path in paths:
        # What is read from a pipe is gone.
        if mapping is None or str(path) == "-" or (path.exists() and not path.is_file() and not path.is_dir()):
            continue
        with open_source(path, columns=mapping.columns) as source:
            mapping.bind(source.columns)


def open_plan_source(plan: Plan, settings: Settings, *, order: Order = by_time) -> ReplaySource:
    """Open what a plan reads.

    Raises
    ------
    SpecError
        The sources do not go together.
    MappingError, SourceError
        The mapping or a file is wrong.
    """
    topics = [one for one in plan.sources if isinstance(one, TopicRange)]
    files = [one for one in plan.sources if isinstance(one, FileInput)]
    if topics and files:
        raise SpecError("Expected topics or files, got both; replay them one after the other")
    if len(topics) > 1:
        raise SpecError("Expected one topic; a replay follows one log")
    if topics:
        return TopicSource(
            topics[0],
            settings.kafka,
            max_event_bytes=settings.worker.max_event_bytes,
            limit=plan.limit,
            order=order,
        )
    if plan.as_live:
        raise SpecError("--as-live repeats what was scored from a topic; name it as kafka://topic")
    return FilesSource(
        files,
        RowMapping.load(plan.mapping),
        topic=settings.topics.events.name,
        partitions=settings.topics.events.partitions,
        limit=plan.limit,
        now_ms=plan.now_ms,
    )
