"""RUN/report.html: the settings, curves, scores, samples and events of a run, and its images' nearest real images."""
