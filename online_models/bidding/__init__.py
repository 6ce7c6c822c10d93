"""Bidding: what an impression is worth to each campaign, paced to its budget."""
