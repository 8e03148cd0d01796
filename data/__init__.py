"""This folder is the package `genmap.facts`: its TOML files come with the learners' wheel."""
