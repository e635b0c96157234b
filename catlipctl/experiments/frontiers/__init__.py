"""Accuracy against cost: methods on the same pairs, at the same budgets, each tuned as much as the others."""
