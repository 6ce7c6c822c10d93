from __future__ import annotations

import re
from pathlib import Path

import pytest

from online_models.features.durations import parse_duration_ms
from streams.cli.minding import risks
from streams.configs import shipped_config, shipped_configs
from streams.faust_app import group_of
from streams.sections import UnusableFile
from streams.settings import InvalidSettings, load_settings, parse_settings
from streams.stores.redis_client import connect

FINE = """\
app: site
features:
  item: {field: item_id}
  binned: {count: click, bins: [1, 2]}
  clicks: {count: click}
objectives:
  click:
    trigger: impression
    outcome: click
    match: item
    window: 30m
"""


def problems(text: str, **environment: str) -> list[str]:
    with pytest.raises(InvalidSettings) as caught:
        parse_settings(text, environment)
    return caught.value.problems


def test_shipped_configurations_are_fine() -> None:
    assert shipped_configs() == ["ads", "criteo", "globo", "globo_labels", "obd", "shop", "shoppers"]
    for name in shipped_configs():
        assert load_settings(shipped_config(name), {}).objectives


def test_a_fine_configuration_has_good_defaults() -> None:
    settings = parse_settings(FINE, {})

    assert (settings.app, settings.topics.events.name, settings.topics.dead.name) == ("site", "events", "events.dead")
    assert settings.learning.publish_examples == 1000
    assert settings.objectives[0].window_ms == 30 * 60_000


def test_policies_are_read_and_decide_nothing_about_the_models() -> None:
    asked = parse_settings(FINE + "policies:\n  even: {kind: uniform, objective: click}\n", {})
    plain = parse_settings(FINE, {})

    assert [one.name for one in asked.policies] == ["even"]
    assert asked.lineage(asked.objectives[0]) == plain.lineage(plain.objectives[0])


def test_a_hand_written_rule_decides_nothing_about_the_model() -> None:
    ruled = parse_settings(FINE + "    rule: [{when: {clicks: {min: 3}}, score: 0.2}, {score: 0.05}]\n", {})
    plain = parse_settings(FINE, {})

    assert len(ruled.objectives[0].rule) == 2
    assert ruled.lineage(ruled.objectives[0]) == plain.lineage(plain.objectives[0])


def test_wrong_policies_are_named_with_their_lines() -> None:
    text = FINE + "policies:\n  even: {kind: uniform, objective: buy}\n  best: {kind: best, objective: click}\n"

    assert [problem.split(": ")[0] for problem in problems(text)] == ["scoring.yaml:13", "scoring.yaml:14"]


@pytest.mark.parametrize(
    ("change", "line", "says"),
    [
        (("window: 30m", "window: soon"), 11, "Expected a duration"),
        (("window: 30m", "window: 30m\n    windw: 3"), 12, "Unknown key"),
        (("trigger: impression", "trigger: impresion"), 8, "Unknown event type 'impresion'"),
        (("match: item", "match: basket"), 10, "Expected one of item, session, user"),
        (("    outcome: click\n", ""), 7, "`outcome` is missing"),
        (("window: 30m", "window: 30m\n    when: {binned: {min: 1}}"), 12, "keeps no value to compare"),
        (("window: 30m", "window: 30m\n    when: {nothing: {min: 1}}"), 12, "not declared"),
        (("window: 30m", "window: 30m\n    when: {item: {min: 1}}"), 12, "is a category"),
        (("window: 30m", "window: 30m\n    without: [itm]"), 12, "No feature is called 'itm'"),
        (("window: 30m", "window: 30m\n    prior: 1.5"), 12, "Expected a probability"),
        (("window: 30m", "window: 30m\n    model: {name: ftrl, alhpa: 1}"), 12, "alhpa"),
        (("window: 30m", "window: 30m\n    model: {name: river.tree.NoTree}"), 12, "NoTree"),
        (("window: 30m", "window: 30m\n    model: {name: adaptive_tree}"), 12, "STREAMSCORE_MODEL_KEY"),
        (("item: {field: item_id}", "item: {field: itemid}"), 3, "features.item"),
        (("app: site", "app: site\nkafka: {bootstrap: x}"), 2, "Unknown key"),
        (("app: site", "app: site\nworker: {chunk_records: 0}"), 2, "chunk_records"),
        (("app: site", "app: site\nworker: {stall_timeout: 5}"), 2, "Expected a duration"),
        (("app: site", "app: site\nkafka: {sasl_password: abc}"), 2, "STREAMSCORE_KAFKA_SASL_PASSWORD"),
        (("app: site", "app: site\nredis: {url: 'redis://:secret@host/0'}"), 2, "STREAMSCORE_REDIS_PASSWORD"),
        (("app: site", "app: site\nkafka: {security_protocol: SASL_SSL}"), 2, "STREAMSCORE_KAFKA_SASL_USERNAME"),
        (("app: site", "app: site\ntopics: {scores: events}"), 2, "a name of its own"),
        (("app: site", "app: site\napp: twice"), 2, "stands here twice"),
        (("app: site", "ap: site"), 1, "Unknown key"),
        (("app: site", "app: ''"), 1, "Expected a name"),
        (("app: site", "app: [1, 2]"), 1, "Expected a name"),
        (("app: site", "app:"), 1, "Expected a name"),
        (("trigger: impression", "trigger: [impression, impression]"), 8, "stands here twice"),
        (("window: 30m", "window: 30m\n    when: {item: {in: []}}"), 12, "at least one value"),
        (("window: 30m", "window: 30m\n    when: {item: {in: [[a]]}}"), 12, "Expected a text or a number"),
        (("window: 30m", "window: 30m\n    when: {clicks: {min: 5, max: 2}}"), 12, "`min` is above `max`"),
        (("item: {field: item_id}", "item: {field: item_id, lower: true, keep: [DE]}"), 3, "never a value"),
        (("item: {field: item_id}", "item: {field: item_id, max_length: 2, keep: [long]}"), 3, "never a value"),
        (("item: {field: item_id}", "item: {visits: [a]}"), 3, "Expected a duration"),
        (("app: site", "app: site\nredis: {state_ttl: 0s}"), 2, "from 1s"),
        (("app: site", "app: site\nredis: {timeout: 0s}"), 2, "from 10ms"),
        (("app: site", "app: site\nkafka: {request_timeout: 0s}"), 2, "from 10ms"),
        (("app: site", "app: site\nworker: {stall_timeout: 0s}"), 2, "from 1s"),
        (("app: site", "app: site\nlearning: {publish_interval: 0s}"), 2, "from 1ms"),
        (("app: site", "app: site\nredis: {url: 'redis://h:notaport/0'}"), 2, "Port could not be cast"),
        (("app: site", "app: site\nredis: {url: 'redis://h/0?password=topsecret'}"), 2, "STREAMSCORE_REDIS_PASSWORD"),
        (("app: site", "app: site\ntopics: {scores: .}"), 2, "no topics called"),
        (("app: site", "app: site\ncandidates: {x/../../evil: {}}"), 2, "Expected a name"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(change: tuple[str, str], line: int, says: str) -> None:
    [problem] = problems(FINE.replace(*change, 1))

    assert problem.startswith((f"scoring.yaml:{line}: ", "scoring.yaml: app"))
    assert says in problem
    assert "topsecret" not in problem


def test_all_problems_are_told_at_once() -> None:
    wrong = FINE.replace("window: 30m", "window: soon").replace("app: site", "app: site\nworker: {http_port: -1}")

    assert len(problems(wrong + "  second:\n    trigger: nothing\n")) == 3


@pytest.mark.parametrize("text", ["", "- a list", "a: [", "\tx: 1", "just words"])
def test_what_is_no_configuration_at_all_is_told_so(text: str) -> None:
    [problem] = problems(text)

    assert problem.startswith("scoring.yaml: ")


def test_an_alias_of_what_holds_it_is_told_so() -> None:
    [problem] = problems(FINE + "policies: &p {a: *p}\n")

    assert "An alias" in problem


def test_a_file_that_is_no_text_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes("app: café".encode("latin-1"))

    with pytest.raises(InvalidSettings, match=r"latin\.yaml: is not UTF-8"):
        load_settings(path, {})


def test_words_are_words_and_norway_is_a_country() -> None:
    text = FINE.replace("item: {field: item_id}", "item: {field: item_id, keep: [NO, SE]}")
    settings = parse_settings(
        text + "    when: {item: {in: [NO, on, 1.0, true]}}\nkafka: {ssl_check_hostname: no}\n", {}
    )

    [condition] = settings.objectives[0].when
    assert condition.one_of == ("NO", "on", "1", "true")
    assert settings.kafka.ssl_check_hostname is False


def test_a_topic_is_named_by_the_environment() -> None:
    text = FINE + "topics:\n  events: {name: clicks, partitions: 12}\n"

    settings = parse_settings(text, {"STREAMSCORE_TOPICS_EVENTS": "visits", "STREAMSCORE_TOPICS_SCORES": "marks"})

    assert (settings.topics.events.name, settings.topics.events.partitions) == ("visits", 12)
    assert settings.topics.scores.name == "marks"
    models = parse_settings(FINE, {"STREAMSCORE_TOPICS_MODELS": "m2"}).topics.models
    assert models == parse_settings(FINE + "topics: {models: m2}\n", {}).topics.models
    assert (models.name, models.partitions) == ("m2", 1)


@pytest.mark.parametrize("never", ["0", "0s"])
def test_idle_partitions_need_no_ticks(never: str) -> None:
    settings = parse_settings(FINE, {"STREAMSCORE_WORKER_IDLE_TICK": never})

    assert parse_duration_ms(settings.worker.idle_tick) == 0


def test_a_missing_file_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="cannot be read"):
        load_settings(tmp_path / "none.yaml", {})


def test_the_environment_overrides_the_file_and_a_misspelt_variable_stops_the_start() -> None:
    settings = parse_settings(
        FINE, {"STREAMSCORE_KAFKA_BOOTSTRAP_SERVERS": "k:1,k:2", "STREAMSCORE_WORKER_CHUNK_RECORDS": "7", "HOME": "/"}
    )

    assert settings.kafka.client_kwargs()["bootstrap_servers"] == "k:1,k:2"
    assert settings.worker.chunk_records == 7
    [problem] = problems(FINE, STREAMSCORE_KAFKA_BOOTSTRAP_SERVER="k:1")
    assert "STREAMSCORE_KAFKA_BOOTSTRAP_SERVER is not known" in problem


def test_what_kubernetes_says_of_a_service_with_our_name_is_not_taken_for_a_misspelt_variable() -> None:
    """It is in every container; workers that start later than the service would not come up."""
    links = {
        "STREAMSCORE_SERVICE_HOST": "10.0.0.1",
        "STREAMSCORE_SERVICE_PORT": "80",
        "STREAMSCORE_SERVICE_PORT_HTTP": "80",
        "STREAMSCORE_PORT": "tcp://10.0.0.1:80",
        "STREAMSCORE_PORT_80_TCP": "tcp://10.0.0.1:80",
        "STREAMSCORE_PORT_80_TCP_PROTO": "tcp",
        "STREAMSCORE_PORT_80_TCP_PORT": "80",
        "STREAMSCORE_PORT_80_TCP_ADDR": "10.0.0.1",
        "STREAMSCORE_REDIS_SERVICE_HOST": "10.0.0.2",
        "STREAMSCORE_REDIS_PORT": "tcp://10.0.0.2:6379",
        "STREAMSCORE_WORKER_HTTP_PORT": "tcp://10.0.0.3:80",
    }
    assert parse_settings(FINE, links).redis.url == parse_settings(FINE, {}).redis.url
    for misspelt in ({"STREAMSCORE_WORKER_PORT": "6066"}, {"STREAMSCORE_PORT": "6066"}, {"STREAMSCORE_HOST": "kafka"}):
        [problem] = problems(FINE, **misspelt)
        assert f"{next(iter(misspelt))} is not known" in problem


@pytest.mark.parametrize(
    ("variable", "others"),
    [
        ("STREAMSCORE_KAFKA_SSL_CAFILE", {"STREAMSCORE_KAFKA_SECURITY_PROTOCOL": "SSL"}),
        ("STREAMSCORE_KAFKA_SSL_CERTFILE", {"STREAMSCORE_KAFKA_SECURITY_PROTOCOL": "SSL"}),
        ("STREAMSCORE_REDIS_SSL_CAFILE", {"STREAMSCORE_REDIS_URL": "rediss://store:6379/0"}),
    ],
)
def test_a_certificate_that_is_not_there_is_named_by_whoever_connects_and_by_nobody_else(
    variable: str, others: dict[str, str], tmp_path: Path
) -> None:
    """A file replay needs neither Kafka nor its certificates, and may run where there are none."""
    settings = parse_settings(FINE, {**others, variable: str(tmp_path / "ca.pem")})
    section, key = variable.lower().split("_", 2)[1:]

    def connecting() -> None:
        if section == "kafka":
            settings.kafka.client_kwargs()
        else:
            connect(settings.redis)

    named = re.escape(f"{section}.{key}: {tmp_path}/ca.pem: No such file or directory")
    with pytest.raises(UnusableFile, match=named):
        connecting()
    assert [one for one in risks(settings) if re.search(named, one)]

    (tmp_path / "ca.pem").write_text("no certificate")
    if section == "kafka":
        with pytest.raises(UnusableFile, match=r"kafka\.ssl_cafile, ssl_certfile or ssl_keyfile: "):
            connecting()
    plain = parse_settings(FINE, {variable: "/nowhere/ca.pem"})
    plain.kafka.client_kwargs()
    assert not [one for one in risks(plain) if "nowhere" in one]


def test_a_heartbeat_that_comes_too_late_for_the_session_is_refused() -> None:
    [problem] = problems(FINE, STREAMSCORE_KAFKA_HEARTBEAT="20s")
    assert "heartbeat: Expected at most half of session_timeout (10s), better a fifth, got 20s" in problem
    parse_settings(FINE, {"STREAMSCORE_KAFKA_HEARTBEAT": "5s"})


def test_secrets_come_from_the_environment_and_are_masked_when_shown() -> None:
    settings = parse_settings(
        FINE,
        {
            "STREAMSCORE_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "STREAMSCORE_KAFKA_SASL_USERNAME": "worker",
            "STREAMSCORE_KAFKA_SASL_PASSWORD": "kafka-secret",
            "STREAMSCORE_REDIS_PASSWORD": "redis-secret",
            "STREAMSCORE_MODEL_KEY": "model-secret",
        },
    )

    assert settings.kafka.client_kwargs()["sasl_plain_password"] == "kafka-secret"
    assert settings.model_key == b"model-secret"
    shown = str(settings.masked())
    assert "secret" not in shown
    assert "********" in shown


def test_a_topic_is_a_name_or_a_mapping() -> None:
    settings = parse_settings(FINE + "topics:\n  events: clicks\n  scores: {partitions: 12}\n", {})

    assert (settings.topics.events.name, settings.topics.events.partitions) == ("clicks", 4)
    assert (settings.topics.scores.name, settings.topics.scores.partitions) == ("scores", 12)


def test_another_model_or_other_features_are_another_lineage() -> None:
    one = parse_settings(FINE, {})
    same = parse_settings(FINE.replace("window: 30m", "window: 40m"), {})
    other = parse_settings(FINE + "    model: {name: ftrl, alpha: 0.2}\n", {})

    assert one.lineage(one.objectives[0]) == same.lineage(same.objectives[0])
    assert one.lineage(one.objectives[0]) != other.lineage(other.objectives[0])


CANDIDATES = """
candidates:
  slower:
    objectives: {click: {model: {name: ftrl, alpha: 0.01}}}
  wrong:
    objectives:
      click:
        model: {name: ftrl, alfa: 0.01}
"""


def test_a_candidate_changes_single_keys_of_an_objective_and_leaves_the_rest() -> None:
    text = shipped_config("shop").read_text(encoding="utf-8") + CANDIDATES

    base, slower = parse_settings(text, {}), parse_settings(text, {}, candidate="slower")

    assert base.candidates == slower.candidates == ("slower", "wrong")
    assert slower.objectives[0].model["alpha"] == 0.01
    assert slower.objectives[0].feature_names(slower.features.names) == base.objectives[0].feature_names(
        base.features.names
    )
    assert slower.objectives[1:] == base.objectives[1:]


def test_an_error_in_a_candidate_names_the_candidates_line() -> None:
    text = shipped_config("shop").read_text(encoding="utf-8") + CANDIDATES
    line = text.splitlines().index("        model: {name: ftrl, alfa: 0.01}") + 1

    with pytest.raises(InvalidSettings, match=f":{line}: .*alfa: Unknown parameter"):
        parse_settings(text, {}, candidate="wrong")
    with pytest.raises(InvalidSettings, match="no candidate 'faster'; declared: slower, wrong"):
        parse_settings(text, {}, candidate="faster")


@pytest.mark.parametrize(("role", "group"), [("all", "shop"), ("scoring", "shop"), ("learning", "shop.learning")])
def test_each_role_has_its_consumer_group(role: str, group: str) -> None:
    settings = parse_settings(shipped_config("shop").read_text(), {"STREAMSCORE_WORKER_ROLE": role})

    assert group_of(settings) == group


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="role"):
        parse_settings(shipped_config("shop").read_text(), {"STREAMSCORE_WORKER_ROLE": "training"})


def test_no_objective_is_called_as_the_counts_of_all_visitors_are() -> None:
    [problem] = problems(FINE.replace("  click:", "  crowd:"))

    assert problem.startswith("scoring.yaml:7: objectives.crowd: ")
    assert "take another name" in problem
