"""What the audits saw, as one HTML file that a person reads: no script, nothing fetched, two languages."""
