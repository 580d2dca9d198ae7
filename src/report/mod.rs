//! Renderers: of the view, and of records as they come. Everything but [`live`] makes strings and writes nothing.
//!
//! **Architecture Invariant:** no state is told by colour alone, and text that came from an agent, a check or a
//! repository passes [`text::sanitize`] before it is shown.

pub mod bundle;
pub mod history;
pub mod line;
pub mod live;
pub mod queue;
mod radar;
pub mod table;
pub mod text;
pub mod why;

pub use line::LineStyle;

#[cfg(test)]
mod tests;
