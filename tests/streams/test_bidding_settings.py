"""The section `bidding:` and campaigns: what is wrong is told with its line, and with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from online_models.errors import ConfigError
from schemas.campaigns import Campaign
from streams.admin import topic_configs
from streams.campaign_files import read_campaigns
from streams.cli.main import app
from streams.settings import InvalidSettings, load_settings, parse_settings

HEAD = """\
app: ads
features:
  ad: {field: item_id}
  wins: {count: bid_win}
  binned: {count: bid_win, bins: [1, 2]}
  both: {cross: [ad, binned]}
objectives:
  ad_click: {trigger: bid_win, outcome: click, match: item, window: 30m}
  ad_sale: {trigger: click, outcome: purchase, match: user, window: 7d}
"""
BIDDING = HEAD + "bidding:\n  click: ad_click\n"
CAMPAIGN = BIDDING + "  campaigns:\n    shoes:\n      budget_per_day: 5\n      value_per_click: 1\n"


def problems(text: str, folder: Path = Path()) -> list[str]:
    with pytest.raises(InvalidSettings) as caught:
        parse_settings(text, {}, name=str(folder / "scoring.yaml"))
    return caught.value.problems


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        ("[1]", "bidding: Expected a mapping, such as `{click: ad_click, "),
        ("{clik: ad_click}", "bidding.clik: Unknown key; expected one of: campaigns, click, conversion, "),
        ("{click: buy}", "bidding.click: No objective is called 'buy'; declared: ad_click, ad_sale"),
        ("{click: [ad_click]}", "bidding.click: No objective is called ['ad_click']; declared: ad_click, ad_sale"),
        ("{conversion: buy}", "bidding.conversion: No objective is called 'buy'; declared: ad_click, ad_sale"),
        ("{pacers: [pid]}", "bidding.pacers: Expected a mapping of name to pacer, such as `even: {kind: pid}`"),
        ("{pacers: {}}", "bidding.pacers: Expected a mapping of name to pacer, such as `even: {kind: pid}`"),
        ("{pacers: {even: pid}}", "bidding.pacers.even: Expected a mapping, such as `{kind: pid}`"),
        ("{pacers: {even: {kind: mpc}}}", "bidding.pacers.even.kind: Expected one of: dual, pid, throttle, layers; "),
        ("{pacers: {even: {kind: pid, gain: 1}}}", "bidding.pacers.even.gain: Unknown key for pid; expected one of: "),
        ("{pacers: {even: {plan: hourly}}}", "bidding.pacers.even.plan: Expected one of: even, traffic, value"),
        ("{slices: [width]}", "bidding.slices.width: 'width' is not declared; expected one of: ad, wins, binned"),
        ("{slices: [both]}", "bidding.slices.both: 'both' is a cross, which has no value of its own; expected one of:"),
        ("{slices: {ad: 1}}", "bidding.slices: Expected names of features, such as `[width, hour]`, got {'ad': 1}"),
        ("{price_half_life: 6}", "bidding.price_half_life: Expected a duration such as 30s, 15m"),
        ("{notice_window: soon}", "bidding.notice_window: Expected a duration such as 30s, 15m"),
        ("{notice_window: 5ms}", "bidding.notice_window: Expected at least one second"),
        ("{campaigns: 5}", "bidding.campaigns: Expected a mapping of name to campaign, or the name of a file with one"),
        ("{campaigns: none.yaml}", "bidding.campaigns: none.yaml: cannot be read: No such file or directory"),
    ],
)
def test_a_wrong_value_of_bidding_is_told_with_its_line(declared: str, says: str) -> None:
    [problem] = problems(HEAD + f"bidding: {declared}\n")

    assert problem.startswith(f"scoring.yaml:10: {says}")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("budget: 5", "budget: Unknown key; expected one of: budget_per_day, value_per_click, "),
        ("click: buy", "click: No objective is called 'buy'; declared: ad_click, ad_sale"),
        ("click: true", "click: Expected text, got `bool`; put it in quotes"),
        ("item_id: 5", "item_id: Expected text, got `int`; put it in quotes"),
        ("category: ''", "category: Expected text of length >= 1"),
        ("price: -1", "price: Expected a number >= 0.0"),
        ("properties: {colours: [red]}", "properties: Expected `bool | int | float | str"),
        ("properties: {size: .nan}", "properties.size: Expected a finite number"),
        ("starts: soon", "starts: Expected a day such as 2026-11-26"),
        ("ends: 2026-11-26 10:00:00", "ends: Expected a day such as 2026-11-26"),
        ("tz_offset_min: 5000", "tz_offset_min: Expected a whole number <= 840"),
        ("targeting: [ad]", "targeting: Expected a mapping, got `array`"),
        ("targeting: {true: {min: 1}}", "targeting: Expected text as keys; put them in quotes"),
        ("targeting: {width: {min: 1}}", "targeting.width: 'width' is not declared; expected one of: ad, wins, binned"),
        ("targeting: {wins: {least: 1}}", "targeting.wins: Expected `{min: …}`, `{max: …}`, both, or `{in: […]}`"),
        ("targeting: {wins: {min: few}}", "targeting.wins.min: Expected a number"),
        ("targeting: {binned: {min: 1}}", "targeting.binned: 'binned' keeps no value to compare"),
        ("cap: 5", "cap: Expected a mapping, got `int`"),
        ("cap: {impressions: 0, window: 1h}", "cap.impressions: Expected a whole number >= 1"),
        ("cap: {impressions: 5}", "cap.window: Is missing"),
        ("cap: {impressions: 5, window: 24}", "cap.window: Expected a duration such as 30s, 15m"),
        ("cap: {impressions: 5, window: 90d}", "cap.window: Expected a duration of up to 30 days"),
        ("cap: {impressions: 5, window: 1h, per: ad}", "cap.per: Unknown key; expected one of: impressions, window"),
        ("min_bid_cpm: -1", "min_bid_cpm: Expected a number >= 0.0"),
        ("max_bid_cpm: .inf", "max_bid_cpm: Expected a number <= 1000000.0"),
        ("auction: third", "auction: Expected one of: first, second"),
        ("pacer: slow", "pacer: No pacer is called 'slow'; declared: even"),
        ("active: maybe", "active: Expected true or false"),
        ("campaign: tents", "campaign: Its name is the key above; leave this out"),
    ],
)
def test_a_wrong_value_of_a_campaign_is_told_with_its_line(line: str, says: str) -> None:
    [problem] = problems(CAMPAIGN + f"      {line}\n")

    assert problem.startswith(f"scoring.yaml:16: bidding.campaigns.shoes.{says}")


@pytest.mark.parametrize(
    ("body", "line", "says"),
    [
        ("5", 13, "shoes: Expected a mapping, such as `{budget_per_day: 100, value_per_click: 0.5}`"),
        ("{value_per_click: 1}", 13, "shoes.budget_per_day: Is missing"),
        ("{budget_per_day: 0, value_per_click: 1}", 13, "shoes.budget_per_day: Expected a number > 0.0"),
        ("{budget_per_day: .nan, value_per_click: 1}", 13, "shoes.budget_per_day: Expected a number > 0.0"),
        ("{budget_per_day: 5}", 13, "shoes.value_per_click: Expected either `value_per_click` or "),
        (
            "{budget_per_day: 5, value_per_click: 1, value_per_conversion: 1}",
            13,
            "shoes.value_per_click: Expected either `value_per_click` or `value_per_conversion`",
        ),
        (
            "{budget_per_day: 5, value_per_conversion: 1}",
            13,
            "shoes.conversion: Expected the name of an objective, here or as `bidding: {conversion: …}`",
        ),
        (
            "\n      budget_per_day: 5\n      value_per_click: 1\n      min_bid_cpm: 3\n      max_bid_cpm: 2",
            16,
            "shoes.min_bid_cpm: Expected at most `max_bid_cpm`",
        ),
        (
            "\n      budget_per_day: 5\n      value_per_click: 1\n      starts: 2026-12-02\n      ends: 2026-12-01",
            17,
            "shoes.ends: Expected a day not before `starts`",
        ),
    ],
)
def test_values_of_a_campaign_that_do_not_fit_together_are_told(body: str, line: int, says: str) -> None:
    [problem] = problems(BIDDING + f"  campaigns:\n    shoes: {body}\n")

    assert problem.startswith(f"scoring.yaml:{line}: bidding.campaigns.{says}")


def test_a_name_is_no_longer_than_a_field_of_an_event() -> None:
    fine = "{budget_per_day: 5, value_per_click: 1}"
    found = problems(BIDDING + f"  campaigns:\n    '': {fine}\n    {'x' * 129}: {fine}\n")

    assert [one.partition(": ")[0] for one in found] == ["scoring.yaml:13", "scoring.yaml:14"]
    assert all(one.endswith("Expected a name of 1 to 128 characters") for one in found)


def test_all_wrong_campaigns_are_told_at_once_with_the_lines_of_their_own_file(tmp_path: Path) -> None:
    (tmp_path / "campaigns.yaml").write_text(
        "shoes:\n  budget_per_day: 5\n  value_per_click: nothing\n"
        "tents: {budget_per_day: 5, value_per_click: 1}\n"
        "boats: {budget_per_day: 5, value_per_click: 1, pacer: slow}\n"
    )

    found = problems(BIDDING + "  campaigns: campaigns.yaml\n", tmp_path)

    before = f"{tmp_path}/scoring.yaml:12: bidding.campaigns: {tmp_path}/campaigns.yaml"
    assert found == [
        f"{before}:3: shoes.value_per_click: Expected a number, got `str`",
        f"{before}:5: boats.pacer: No pacer is called 'slow'; declared: even",
    ]


def test_a_campaign_that_partitions_cannot_be_told_of_is_refused_unless_it_does_not_bid() -> None:
    large = f"{{ad: {{in: [{', '.join(f'item-{number:06d}' for number in range(5_000))}]}}}}"
    paused = CAMPAIGN + f"      targeting: {large}\n      active: false\n"

    [problem] = problems(CAMPAIGN + f"      targeting: {large}\n")

    assert problem.startswith("scoring.yaml:13: bidding.campaigns.shoes: Expected at most 65536 bytes as an event (")
    assert parse_settings(paused, {}).bidding is not None
    assert parse_settings(CAMPAIGN + f"      targeting: {large}\nworker: {{max_event_bytes: 100000}}\n", {}).bidding


def test_campaigns_of_a_file_stand_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "campaigns.yaml").write_text("tents: {budget_per_day: 5, value_per_click: 1}\n")
    (tmp_path / "scoring.yaml").write_text(BIDDING + "  campaigns: campaigns.yaml\n")

    settings = load_settings(tmp_path / "scoring.yaml", {})

    assert settings.bidding is not None
    assert settings.bidding.campaigns == (Campaign(campaign="tents", budget_per_day=5, value_per_click=1),)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "campaigns.yaml: Expected a mapping at the top, such as `shoes: {budget_per_day: 100, …}`"),
        ("- shoes", "campaigns.yaml: Expected a mapping at the top, such as `shoes: {budget_per_day: 100, …}`"),
        ("shoes: {", "campaigns.yaml: line 1: not valid YAML: "),
        ("shoes: {}\nshoes: {}\n", "campaigns.yaml: shoes: This key stands here twice; keep one"),
    ],
)
def test_a_file_that_holds_no_campaigns_is_told_so(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "campaigns.yaml").write_text(text)

    found = read_campaigns(tmp_path / "campaigns.yaml", lambda one: None)

    assert found.campaigns == []
    [error] = found.errors
    assert str(error).startswith(f"{tmp_path}/{says}")


def test_what_a_check_says_is_told_with_the_line_of_the_value(tmp_path: Path) -> None:
    (tmp_path / "campaigns.yaml").write_text("shoes:\n  budget_per_day: 5\n  value_per_click: 1\n")

    def refuse(one: Campaign) -> None:
        raise ConfigError(("value_per_click",), f"{one.campaign} is not wanted")

    found = read_campaigns(tmp_path / "campaigns.yaml", refuse)

    assert [str(one) for one in found.errors] == [
        f"{tmp_path}/campaigns.yaml:3: shoes.value_per_click: shoes is not wanted"
    ]


def test_a_check_tells_what_it_found_of_bidding() -> None:
    done = CliRunner().invoke(app, ["check", "ads"])

    assert done.exit_code == 0
    assert "  campaigns:  spring-shoes, tents\n  pacers:     even (dual), busy (pid)\n" in done.stdout


def test_a_check_says_nothing_of_campaigns_where_nobody_bids() -> None:
    assert "pacers:" not in CliRunner().invoke(app, ["check", "shop"]).stdout


def test_the_topics_of_bidding_are_made_where_it_is_declared_and_what_was_taken_away_is_told_for_a_month() -> None:
    bidding, without = parse_settings(BIDDING, {}), parse_settings(HEAD, {})
    campaigns = bidding.topics.campaigns

    assert [one.name for one in bidding.used_topics if one not in without.used_topics] == ["bids", "campaigns"]
    assert topic_configs(campaigns, bidding) == {"cleanup.policy": "compact", "delete.retention.ms": "2592000000"}
    assert topic_configs(bidding.topics.bids, bidding) == {}
