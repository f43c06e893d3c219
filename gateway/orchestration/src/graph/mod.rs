//! A definition as a picture, in text and as SVG.
