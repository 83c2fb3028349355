"""Figures: pure functions from data to Altair charts and pictures, in one style."""
