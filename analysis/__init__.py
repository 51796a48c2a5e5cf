"""What the record of a study says: tables, figures and one HTML page; reads search.record only."""
