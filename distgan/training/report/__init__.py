"""RUN/report.html: what a run was, what came of it, and how far its images are from copies. See `command`."""
