"""What each module of an opened payload adds to its layer, as algebra: views, factors, spectra."""
