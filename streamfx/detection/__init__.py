"""Finding faces in one picture: the detector, and looks at a picture at a chosen size."""
