"""report(): a Decision as `decision.json` and the page that draw() gave; the table at the end, LiveView while it is sought."""

from farthing.reporting.report import report as report
