"""Measures how good models are: metrics, what is measured on an editor, the report; trains nothing."""
