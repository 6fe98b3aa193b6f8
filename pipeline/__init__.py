"""How each step of the retraining pipeline works. Knows nothing of Luigi."""
