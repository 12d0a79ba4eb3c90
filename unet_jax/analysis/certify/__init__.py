"""The certificate: every published network checked against numbers that do not come from its code."""
