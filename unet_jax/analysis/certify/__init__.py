"""The certificate: published networks checked against numbers that do not come from their code."""
