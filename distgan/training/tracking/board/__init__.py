"""W&B's page for runs of distgan: a workspace for a project, and a report that compares runs."""
