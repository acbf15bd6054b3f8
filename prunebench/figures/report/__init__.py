"""The report: rows and artefacts as one HTML file."""
