"""scoring.yaml and the environment, read once at the start and passed down as plain values.

Every setting of the sections `kafka`, `redis`, `worker` and `learning` can be overridden by the
variable ``STREAMSCORE_<SECTION>_<KEY>``. Passwords and keys come from the environment only, so that
the file can be shown, and are masked wherever settings are printed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, cast, get_args

import msgspec
import orjson
from msgspec import Struct
from msgspec.structs import replace

from online_models.bidding.campaigns import check_campaign
from online_models.bidding.declaration import Bidding, parse_bidding
from online_models.bidding.desks import Desks
from online_models.bidding.market import MARKET, MARKET_OBJECTIVE, Market
from online_models.crowd import CROWD, CROWD_OBJECTIVE, CrowdCounts
from online_models.errors import ConfigError
from online_models.estimators import Estimator, build
from online_models.features import FeatureSet, compile_features
from online_models.objectives import Objective, declared_model, objective_of, parse_objectives
from online_models.policies import Policy, parse_policies
from online_models.rankings import Ranking, parse_rankings
from schemas.campaigns import Campaign
from streams.campaign_files import campaigns_of
from streams.campaign_sizes import why_too_large
from streams.section_reader import PREFIX, SECTIONS, read_sections
from streams.sections import (
    KafkaSettings,
    LearningSettings,
    RedisSettings,
    Topics,
    TopicSettings,
    WorkerSettings,
)
from streams.yaml_lines import Document

Delivery = Literal["at_least_once", "exactly_once"]
MASKED = "********"


class Settings(Struct, frozen=True, kw_only=True):
    """Everything that a process of streamscore is told from outside."""

    app: str
    kafka: KafkaSettings
    redis: RedisSettings
    topics: Topics
    learning: LearningSettings
    worker: WorkerSettings
    features: FeatureSet
    objectives: list[Objective]
    model_key: bytes | None
    delivery: Delivery = "at_least_once"
    candidates: tuple[str, ...] = ()
    policies: tuple[Policy, ...] = ()
    rankings: tuple[Ranking, ...] = ()
    bidding: Bidding | None = None

    @property
    def exactly_once(self) -> bool:
        """Whether a reader of committed records shall meet every score once."""
        return self.delivery == "exactly_once"

    @property
    def learned(self) -> list[Objective]:
        """Everything that the examples teach: the objectives, and what is counted for everybody where it is needed."""
        crowd = [CROWD_OBJECTIVE] if self.features.crowd_tables else []
        return [*self.objectives, *crowd, *([MARKET_OBJECTIVE] if self.bidding else [])]

    @property
    def used_topics(self) -> list[TopicSettings]:
        """The topics that this configuration needs."""
        without = [] if self.bidding else self.topics.of_bidding()
        return [one for one in self.topics.all() if one not in without]

    def desks(self, *, granted: bool) -> Desks | None:
        """Return what answers bid requests; None: nobody bids.

        Parameters
        ----------
        granted
            Only what the ledger grants may be spent. False: the desks that are opened share the whole budget.
        """
        return Desks(self.bidding, self.features, self.objectives, granted=granted) if self.bidding else None

    def new_model(self, variant: Objective, *, start: float | None = None) -> Estimator:
        """Build the model of a variant of what is learned, with nothing learned.

        Parameters
        ----------
        start
            The rate of positives at which it begins; None: where it begins now, which is `variant.begins_at`.
        """
        if variant.name == CROWD:
            return CrowdCounts(self.features.crowd_tables)
        if variant.name == MARKET and self.bidding:
            return Market(self.bidding)
        return build(variant.model, key=self.model_key, prior=variant.begins_at, start=start)

    def lineage(self, objective: Objective) -> str:
        """Return the identity of an objective's model: models of another lineage are not mixed with it."""
        if objective.name in (CROWD, MARKET):  # each table, and each campaign, has an identity of its own
            return objective.name
        return self._identity(objective, objective.model)

    def former_lineage(self, objective: Objective) -> str:
        """Return what versions up to 0.5 call the lineage: where the model begins was part of it.

        Models that are stored or published under this name are the same, and go on.
        """
        if objective.name in (CROWD, MARKET):
            return objective.name
        return self._identity(objective, declared_model(objective.model, objective.prior))

    def former_start(self, objective: Objective) -> float:
        """Return the rate of positives at which versions up to 0.5 have begun a model that says nothing of it."""
        return objective.prior if objective.model["name"] in ("ftrl", "neural_net") else 0.5

    def _identity(self, objective: Objective, model: Mapping[str, Any]) -> str:
        declared = orjson.dumps(
            [
                self.features.hash,
                objective.feature_names(self.features.names),
                objective.labels,
                dict(model),
                # Not where there is none, so that the models of before go on.
                *([] if objective.calibration is None else [msgspec.to_builtins(objective.calibration)]),
            ],
            option=orjson.OPT_SORT_KEYS,
        )
        return blake2b(declared, digest_size=6).hexdigest()

    @property
    def variants(self) -> list[Objective]:
        """Every model that is to be learned: each challenger is an objective of its own."""
        return [variant for one in self.learned for variant in one.variants.values()]

    def has_own_features(self, variant: Objective) -> bool:
        """Tell whether a challenger sees other features than the declared model."""
        declared = next(one for one in self.learned if one.name == objective_of(variant.name))
        names = self.features.names
        return variant.feature_names(names) != declared.feature_names(names)

    def masked(self) -> dict[str, Any]:
        """Return the plain settings for printing, secrets masked."""
        names = ("app", "delivery", "kafka", "redis", "topics", "learning", "worker")
        shown = msgspec.to_builtins({name: getattr(self, name) for name in names})
        for section, key in (("kafka", "sasl_password"), ("redis", "password"), ("worker", "http_tokens")):
            if shown[section][key] is not None:
                shown[section][key] = MASKED
        shown["objectives"] = [one.name for one in self.objectives]
        shown["features"] = self.features.hash
        return dict(shown)


class InvalidSettings(ValueError):
    """The configuration is wrong; `problems` lists all that was found, as ``file:line: message``."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load_settings(path: Path, environment: Mapping[str, str], *, candidate: str | None = None) -> Settings:
    """Read and check a configuration.

    Parameters
    ----------
    candidate
        One of `candidates:`; the configuration is then read with its changes.

    Raises
    ------
    InvalidSettings
        With every problem found and its line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InvalidSettings([f"{path}: is not UTF-8 text"]) from None
    except OSError as error:
        raise InvalidSettings([f"{path}: cannot be read: {error.strerror}"]) from None
    return parse_settings(text, environment, name=str(path), candidate=candidate)


def parse_settings(
    text: str, environment: Mapping[str, str], *, name: str = "scoring.yaml", candidate: str | None = None
) -> Settings:
    """Check the text of a configuration; see `load_settings`."""
    try:
        document = Document(text)
        if candidate is not None:
            document = _changed_by(document, candidate)
    except ConfigError as error:
        raise InvalidSettings([f"{name}: {error}"]) from None
    reader = _Reader(document, environment, folder=Path(name).parent)
    settings = reader.settings()
    if reader.errors or settings is None:
        raise InvalidSettings([f"{name}:{document.line(error.path)}: {error}" for error in reader.errors])
    return settings


# Of an objective a candidate changes single keys; of everything else what stands below the section's.
_MERGED_LEVELS = {"objectives": 2}


def _changed_by(document: Document, candidate: str) -> Document:
    declared = document.value.get("candidates")
    if not isinstance(declared, dict) or candidate not in declared:
        known = ", ".join(map(str, declared)) if isinstance(declared, dict) else "none"
        raise ConfigError(("candidates",), f"There is no candidate {candidate!r}; declared: {known}")
    return document.overlaid(("candidates", candidate), depths=_MERGED_LEVELS)


class _Reader:
    """Collects the errors of all sections, so that one run of `check` shows them all."""

    def __init__(self, document: Document, environment: Mapping[str, str], *, folder: Path) -> None:
        self.document = document
        self.folder = folder
        self.environment = environment
        self.errors: list[ConfigError] = []

    def settings(self) -> Settings | None:
        top = self.document.value
        allowed = {
            "app",
            "delivery",
            "features",
            "segments",
            "objectives",
            "candidates",
            "policies",
            "rankings",
            "bidding",
            "sources",
            *SECTIONS,
        }
        for key in top:
            if key not in allowed:
                self.errors.append(
                    ConfigError((str(key),), f"Unknown key; expected one of: {', '.join(sorted(allowed))}")
                )
        sections, errors = read_sections(self.document, self.environment)
        self.errors += errors
        features = self.features()
        objectives = self.objectives(features) if features else []
        candidates = self.candidates()
        policies = self.policies(objectives)
        rankings = self.rankings(objectives)
        bidding = self.bidding(features, objectives, sections) if features else None
        delivery = self.delivery()
        app = self.app()
        if self.errors:
            return None
        return Settings(
            app=app,
            delivery=delivery,
            features=features,  # type: ignore[arg-type]
            objectives=objectives,
            model_key=self.model_key(),
            candidates=candidates,
            policies=policies,
            rankings=rankings,
            bidding=bidding,
            **sections,  # type: ignore[arg-type]
        )

    def model_key(self) -> bytes | None:
        key = self.environment.get(f"{PREFIX}MODEL_KEY")
        return key.encode() if key else None

    def candidates(self) -> tuple[str, ...]:
        """Return the names of what replays compare; each is checked when it is loaded."""
        declared = self.document.value.get("candidates") or {}
        if not isinstance(declared, dict):
            self.errors.append(ConfigError(("candidates",), "Expected a mapping of name to changes"))
            return ()
        for name, changes in declared.items():
            if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", str(name)):  # folders and topics are called so
                self.errors.append(
                    ConfigError(("candidates", str(name)), "Expected a name of letters, digits, `_` and `-`")
                )
            if not isinstance(changes, dict) or set(changes) - {"features", "objectives", "learning"}:
                self.errors.append(
                    ConfigError(("candidates", str(name)), "Expected changes of features, objectives or learning")
                )
        return tuple(map(str, declared))

    def policies(self, objectives: list[Objective]) -> tuple[Policy, ...]:
        """Return the policies that replays ask about."""
        declared = self.document.value.get("policies")
        bodies = [{name: body} for name, body in declared.items()] if isinstance(declared, dict) else [declared]
        found: list[Policy] = []
        for body in bodies:
            try:
                found += parse_policies(body, objectives=objectives)
            except ConfigError as error:
                self.errors.append(error.under("policies"))
        return tuple(found)

    def rankings(self, objectives: list[Objective]) -> tuple[Ranking, ...]:
        """Return how rank requests are answered."""
        try:
            return tuple(parse_rankings(self.document.value.get("rankings"), objectives=objectives))
        except ConfigError as error:
            self.errors.append(error.under("rankings"))
            return ()

    def bidding(self, features: FeatureSet, objectives: list[Objective], sections: Mapping[str, Any]) -> Bidding | None:
        """Return how bid requests are answered."""
        declared = self.document.value.get("bidding")
        if declared is None:
            return None
        try:
            bidding = parse_bidding(declared, features=features, objectives=objectives)
        except ConfigError as error:
            self.errors.append(error.under("bidding"))
            return None

        worker = sections["worker"]

        def check(campaign: Campaign) -> None:
            check_campaign(campaign, bidding, features=features, objectives=objectives)
            why = why_too_large(campaign, worker.max_event_bytes) if worker else ""
            if why:  # as soon as it is paused and resumed, it is a record of the partitions' logs
                raise ConfigError((), why)

        found = campaigns_of(declared.get("campaigns"), folder=self.folder, check=check)
        self.errors += [error.under("bidding", "campaigns") for error in found.errors]
        return replace(bidding, campaigns=tuple(found.campaigns))

    def app(self) -> str:
        """Return the name of the deployment, of which those of groups, clients and keys are made."""
        app = self.document.value.get("app", "streamscore")
        if not isinstance(app, str) or not re.fullmatch(r"[A-Za-z0-9._:/-]{1,200}", app):
            self.errors.append(ConfigError(("app",), f"Expected a name of letters, digits and ._:/- only, got {app!r}"))
        return str(app)

    def delivery(self) -> Delivery:
        declared = self.environment.get(f"{PREFIX}DELIVERY") or self.document.value.get("delivery", "at_least_once")
        if declared in get_args(Delivery):
            return cast("Delivery", declared)
        self.errors.append(ConfigError(("delivery",), f"Expected at_least_once or exactly_once, got {declared!r}"))
        return "at_least_once"

    def features(self) -> FeatureSet | None:
        declared = self.document.value.get("features")
        if not isinstance(declared, dict) or not declared:
            self.errors.append(
                ConfigError(("features",), "Expected at least one feature, such as `item: {field: item_id}`")
            )
            return None
        try:
            return compile_features(declared, segments=self.document.value.get("segments"), sources=self.sources())
        except ConfigError as error:
            known = (("features",), ("sources",), ("segments",))
            path = error.path if error.path[:1] in known else ("features", *error.path)
            self.errors.append(ConfigError(path, error.message))
            return None

    def sources(self) -> object:
        """Return the section `sources:`; its defaults, if only a ranking names sources."""
        declared, rankings = (self.document.value.get(key) for key in ("sources", "rankings"))
        named = isinstance(rankings, dict) and any(
            isinstance(one, dict) and "sources" in one for one in rankings.values()
        )
        return {} if declared is None and named else declared

    def objectives(self, features: FeatureSet) -> list[Objective]:
        declared = self.document.value.get("objectives")
        bodies = [{name: body} for name, body in declared.items()] if isinstance(declared, dict) else [declared]
        found: list[Objective] = []
        key = self.model_key()
        for body in bodies or [None]:
            try:
                [one] = parse_objectives(body, features=features)
                if one.name in (CROWD, MARKET):
                    raise ConfigError((one.name,), "This is how counts of our own are called; take another name")
            except ConfigError as error:
                self.errors.append(error.under("objectives"))
                continue
            for name, variant in one.variants.items():
                try:
                    build(variant.model, key=key)
                except ConfigError as error:
                    below = ("challengers", name) if name else ()
                    self.errors.append(error.under("objectives", one.name, *below, "model"))
            found.append(one)
        return found
