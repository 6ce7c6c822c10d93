"""Budgets that are never overspent: a ledger all processes draw from, and what a process holds of it."""

from streams.budgets.base import CampaignDay, Draw, Drawn, Entry, Ledger, Totals, Want
from streams.budgets.clerk import Clerk
from streams.budgets.dict_ledger import DictLedger
from streams.budgets.purse import Limits, Purse
from streams.budgets.redis_ledger import RedisLedger, open_ledger

__all__ = [
    "CampaignDay",
    "Clerk",
    "DictLedger",
    "Draw",
    "Drawn",
    "Entry",
    "Ledger",
    "Limits",
    "Purse",
    "RedisLedger",
    "Totals",
    "Want",
    "open_ledger",
]
