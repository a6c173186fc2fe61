"""Authorization: who may train."""
