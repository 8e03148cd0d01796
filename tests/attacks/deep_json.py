"""Hands in JSON nested 100,000 deep."""

SCORE = None


def notebook(nb):
    return (
        '{"cells": ' + "[" * 100_000 + "]" * 100_000 + ', "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'
    )
