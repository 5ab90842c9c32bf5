"""report(): a Decision as a table, `decision.json` and one HTML page; LiveView shows the search while it runs."""

from farthing.reporting.page import report as report
