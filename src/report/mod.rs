//! Renderers of the view.
