"""Hands in a notebook of 200 MB."""

SCORE = None


def files(folder):
    with open(folder / "90_small.ipynb", "w") as file:
        file.write('{"cells": [{"cell_type": "raw", "metadata": {}, "source": "')
        for _ in range(200):
            file.write("x" * (1 << 20))
        file.write('"}], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}')
