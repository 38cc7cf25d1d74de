"""What a report is turned into: text, tables, pictures, pages."""
