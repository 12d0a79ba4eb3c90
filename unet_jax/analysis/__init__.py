"""What a network is and what its parts are for: the certificate, and the claims of the papers as commands."""
