"""The demonstration: a film of a synthetic person scored, with a picture of its scores over time."""
