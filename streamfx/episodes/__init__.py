"""Episodes: from the overlapping windows of each track to stretches of one expression, or of an action unit that acts."""
