"""The HTML page: its template, its style sheet, and the code that fills them."""
