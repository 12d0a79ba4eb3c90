"""Pictures and tables for a person to look at: masks over images, figures, tables as text."""
