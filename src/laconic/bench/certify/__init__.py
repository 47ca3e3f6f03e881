"""Is a configuration exact for a model? Three audits and the certificate that joins them."""
