"""Agents that learn to trade: their accounts, environment, trainers, judgement and package."""
