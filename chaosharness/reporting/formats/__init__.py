"""How a report is written: text, Markdown, HTML, JSON and a test, each from one story."""
