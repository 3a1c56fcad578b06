"""Training targets from samples, grades, files of preferences or a judge; the measures of uncertainty."""
