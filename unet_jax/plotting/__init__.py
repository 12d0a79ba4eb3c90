"""What a person looks at: masks over images, figures, tables as text."""
