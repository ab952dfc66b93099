"""Training: recipes, pre-training, tuning, evaluation, and import and export of models."""
