"""What a clairvoyant would have saved: the bound that every deciding method is measured against."""
